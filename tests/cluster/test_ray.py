"""A Ray cluster of three nodes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import ray
from ray.cluster_utils import Cluster

from agentserve.cluster import deploy
from agentserve.cluster.operator import NAMESPACE
from agentserve.cluster.section import ClusterFile, parse_cluster
from agentserve.config import ConfigError
from agentserve.engines.demo_model import prepare
from tests.engine_fixture import MODEL_PATH

pytestmark = pytest.mark.filterwarnings("ignore")
"""Ray's own: of sockets and processes that it leaves to the garbage collector."""

PATIENCE = 600.0
STARTS = 4
LOOPBACK = "127.0.0.1"
EMULATED = {"kv_tokens": 16_384, "max_model_len": 4096, "speed": 20.0}


def _add(cluster: Cluster, **wanted: Any) -> Any:
    """A node more. Ray gives one 30 s to come up, which is not enough on a machine that does much else."""
    wanted["node_ip_address"] = LOOPBACK
    for _ in range(STARTS - 1):
        try:
            return cluster.add_node(**wanted)
        except Exception as error:  # of no class of its own
            if "timed out during startup" not in str(error):
                raise
    return cluster.add_node(**wanted)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Any]]:
    """Two nodes for engines beside the head, which has none."""
    cluster = Cluster()
    try:
        _add(cluster, num_cpus=1, resources={"head": 1}, include_dashboard=False)
        made = [_add(cluster, num_cpus=2, resources={"seat": 2}, labels={"speed": "fast"}) for _ in range(2)]
        ray.init(address=cluster.address, namespace=NAMESPACE, log_to_driver=False)
        yield [cluster, *made]
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def file(**changes: Any) -> ClusterFile:
    group = {
        "name": "e",
        "model": "m",
        "emulated": EMULATED,
        "resources": {"seat": 1.0},
        "labels": {"speed": "fast"},
        "min": 2,
    }
    return parse_cluster(
        {
            "address": "auto",
            "engines": [group | changes],
            "gateway": {"port": 0, "resources": {"head": 1.0}},
            "drain": 5.0,
        },
        "cluster.yaml",
    )


def until(condition: Callable[[], Any], what: str) -> Any:
    """What the condition gives as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come to pass; {deploy.status(file())}")


def gateway_url() -> str:
    """Where the gateway is; "" while there is none."""
    gateways = deploy.status(file())["gateways"]
    return gateways["gateway-0"]["url"] if "gateway-0" in gateways else ""


def engines(url: str) -> dict[str, str]:
    """The urls of the engines that a gateway has up."""
    try:
        listed = httpx.get(f"{url}/agentserve/v1/engines", timeout=20).json()["engines"]
    except httpx.TransportError:
        return {}
    return {engine["name"]: engine["url"] for engine in listed if engine["state"] == "up"}


def at_zero() -> dict[str, int]:
    """The models without an engine, as the operator knows them."""
    return deploy.status(file())["at_zero"]


def ask(url: str, program: str, *, final: bool = False) -> str:
    """A call; says which engine answered."""
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": program}]}
    headers = {"x-agentserve-program": program, "x-agentserve-final": str(final).lower()}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-agentserve-engine"]


def test_a_node_is_killed_its_engines_start_elsewhere_and_the_load_is_finished(nodes: list[Any]) -> None:
    cluster, *workers = nodes
    deploy.up(file())
    try:
        gateway = until(gateway_url, "a gateway")
        first = until(lambda: len(found := engines(gateway)) == 2 and found, "two engines")
        with pytest.raises(ConfigError, match="runs already"):
            deploy.up(file())
        assert {httpx.URL(url).host for url in (gateway, *first.values())} == {LOOPBACK}
        hosts = {engine["node"] for engine in deploy.status(file())["engines"].values()}
        victim = next(worker for worker in workers if worker.node_id in hosts)
        with ThreadPoolExecutor(4) as clients:
            early = [clients.submit(ask, gateway, f"p{number}") for number in range(8)]
            cluster.remove_node(victim)
            late = [clients.submit(ask, gateway, f"q{number}") for number in range(8)]
            assert {call.result() for call in (*early, *late)} <= set(first)
        again = until(lambda: len(found := engines(gateway)) == 2 and found != first and found, "two engines again")
        assert set(again) == set(first), "by their names they are the same"
        assert ask(gateway, "after") in again
    finally:
        deploy.down(file())
    with pytest.raises(ConfigError, match="start it with `agentserve cluster up`"):
        deploy.status(file())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpus": 1.0}, "each takes 1 GPU, and no node has more than 0; lower `gpus`, or add a node"),
        ({"labels": {"speed": "slow"}}, "no node has the labels speed=slow; give them with `ray start --labels`"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused(nodes: list[Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("=", ".")):
        deploy.up(file(**change))


def test_a_pool_at_zero_starts_an_engine_for_calls_that_wait_and_lets_it_go_again(nodes: list[Any]) -> None:
    zero = file(min=0, max=1, idle=2.0)
    deploy.up(zero)
    try:
        gateway = until(gateway_url, "a gateway")
        until(lambda: at_zero() == {"m": 0}, "a pool at zero")
        assert not engines(gateway)
        assert ask(gateway, "p", final=True) == "e-0"
        until(lambda: at_zero() == {"m": 0} and not deploy.status(zero)["engines"], "the end of the last engine")
        assert ask(gateway, "q", final=True) == "e-0"
    finally:
        deploy.down(zero)


def test_a_restart_of_the_only_engine_leaves_no_call_without_one(nodes: list[Any]) -> None:
    one = file(min=1)
    deploy.up(one)
    try:
        gateway = until(gateway_url, "a gateway")
        first = until(lambda: engines(gateway), "the engine")
        answered = set()
        with ThreadPoolExecutor(1) as operators:
            restarting = operators.submit(deploy.restart, one)
            while not restarting.done():
                answered.add(ask(gateway, "p"))
                time.sleep(0.2)
        assert restarting.result() == ["e-0"]
        assert answered == {"e-0", "e-spare"}
        again = engines(gateway)
        assert list(again) == ["e-0"]
        assert again != first, "it listens elsewhere"
    finally:
        deploy.down(one)


@pytest.mark.engine
def test_a_real_engine_that_ray_has_started_answers_through_the_gateway(nodes: list[Any]) -> None:
    launch = {
        "model": str(prepare(MODEL_PATH)),
        "args": ["--num-gpu-blocks-override", "256", "--block-size", "32", "--max-model-len", "4096"],
    }
    real = file(name="real", emulated=None, launch=launch, min=1)
    deploy.up(real)
    try:
        gateway = until(gateway_url, "a gateway")
        (name,) = until(lambda: engines(gateway), "the engine")
        assert ask(gateway, "p") == name == "real-0"
    finally:
        deploy.down(real)
