"""From outside the cluster: connects to Ray, and has the operator do things."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from agentserve.cluster.operator import NAMESPACE, Operator, Status
from agentserve.cluster.placement import Node, unplaceable
from agentserve.cluster.section import ClusterFile
from agentserve.config import ConfigError

START = [
    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address", "127.0.0.1"),
    *("--disable-usage-stats", "--include-dashboard", "false"),
]
"""A cluster of this machine alone, which `ray stop` ends."""
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's variable by whose "0" a loopback address stays one; else Ray replaces it by one that others reach."""
NO_RAY = "Ray is not installed: pip install 'agentserve[ray]'"


@contextmanager
def connected(file: ClusterFile, fail: Callable[[str], NoReturn]) -> Iterator[None]:
    """A connection to the file's Ray cluster. What its user has to mend is given to `fail`."""
    if file.address == "local":
        os.environ[LOOPBACK] = "0"  # before Ray is imported, and for the nodes that it starts
    try:
        import ray
    except ImportError:
        fail(NO_RAY)
    address = "auto" if file.address == "local" else file.address
    try:
        try:
            _init(address)
        except ConnectionError:
            if file.address != "local":
                raise
            subprocess.run(START, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words
            _init(address)
    except (ConnectionError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        ours = "start one with `ray start --head`" if address == "auto" else "correct `address`, or start Ray there"
        fail(f"no Ray cluster answers at {file.address}: {str(error).splitlines()[0]}; {ours}")
    try:
        yield
    except ConfigError as error:
        fail(str(error))
    finally:
        ray.shutdown()


def _init(address: str) -> None:
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.WARNING)


def up(file: ClusterFile) -> None:
    """Creates the operator. Raises `ConfigError` if there is one, or the cluster cannot hold what is asked for."""
    import ray

    if problems := unplaceable(file, nodes()):
        raise ConfigError("\n".join(problems))
    if _find(file) is not None:
        raise ConfigError(
            f"cluster {file.name!r} runs already; end it with `agentserve cluster down`, or choose another name"
        )
    paths = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}} if "PYTHONPATH" in os.environ else {}
    actor: Any = ray.remote(Operator)
    operator = actor.options(
        name=_name(file), namespace=NAMESPACE, lifetime="detached", num_cpus=0, max_restarts=-1, runtime_env=paths
    ).remote(file.model_dump_json())
    ray.get(operator.status.remote())


def down(file: ClusterFile) -> None:
    """Ends everything. Raises `ConfigError` if nothing runs."""
    import ray

    operator = _operator(file)
    ray.get(operator.end.remote())
    ray.kill(operator)


def restart(file: ClusterFile) -> list[str]:
    """Restarts all engines one by one; says which. Raises `ConfigError` if nothing runs."""
    import ray

    names: list[str] = ray.get(_operator(file).restart.remote())
    return names


def status(file: ClusterFile) -> Status:
    """How everything is. Raises `ConfigError` if nothing runs."""
    import ray

    found: Status = ray.get(_operator(file).status.remote())
    return found


def nodes() -> list[Node]:
    """The nodes that are alive."""
    import ray

    all_nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(node["Resources"], node["Labels"]) for node in all_nodes if node["Alive"]]


def _name(file: ClusterFile) -> str:
    return f"{file.name}:operator"


def _operator(file: ClusterFile) -> Any:
    found = _find(file)
    if found is None:
        raise ConfigError(f"no cluster {file.name!r} runs at {file.address}; start it with `agentserve cluster up`")
    return found


def _find(file: ClusterFile) -> Any:
    import ray

    try:
        return ray.get_actor(_name(file), namespace=NAMESPACE)
    except ValueError:
        return None
