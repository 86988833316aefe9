"""What a configuration file asks for: whether it can be had."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx

from agentserve.config import Config, ConfigError, EngineSection, load
from agentserve.doctor.check import Check, ok, problem, warning
from agentserve.gateway.state import StateError, load_state
from agentserve.gateway.tenants.keys import KeysError, load_keys
from scheduler.types import Seconds

PATIENCE: Seconds = 3.0
"""With a server that is asked whether it is there."""


def read(path: Path) -> Config | Check:
    """The configuration, or what is wrong with it."""
    try:
        return load(path)
    except ConfigError as error:
        return problem("configuration", str(error), "mend it; `agentserve check-config` checks it again")


def configured(path: Path, config: Config) -> Iterator[Check]:
    """All that it names."""
    yield ok("configuration", f"{path}: policy {config.policy.name}, {len(list(config.engines))} engines")
    yield port(config)
    for _, section in config.engines:
        yield from _engine(section)
    yield from _files(config)
    yield from _extras(config)


def port(config: Config) -> Check:
    """Whether the gateway could listen there; one that listens already is as good."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((config.host, config.port))
        except OSError as error:
            if _is_gateway(config):
                return ok("port", f"a gateway listens on {config.listen}")
            return problem(
                "port", f"{config.listen}: {error.strerror}", "end what listens there, or choose another `listen`"
            )
    return ok("port", f"{config.listen} is free")


def _is_gateway(config: Config) -> bool:
    url = f"http{'s' if config.tls else ''}://{config.listen}/health"
    try:
        return httpx.get(url, timeout=PATIENCE, trust_env=False, verify=False).is_success  # noqa: S501 - asks for life only
    except httpx.HTTPError:
        return False


def _engine(section: EngineSection) -> Iterator[Check]:
    name = f"engine {section.name}"
    if section.url:
        yield _attached(name, section.url)
    elif section.launch is not None:
        yield _model(name, section.launch.model)
    else:
        yield ok(name, "emulated: its times are modelled and its text is filler")


def _attached(name: str, url: str) -> Check:
    fix = "start it, or mend its `url`; the gateway goes on trying by itself"
    try:
        answer = httpx.get(f"{url.rstrip('/').removesuffix('/v1')}/health", timeout=PATIENCE, trust_env=False)
    except httpx.HTTPError as error:
        return problem(name, f"{url} does not answer: {error}", fix)
    if answer.is_success:
        return ok(name, f"{url} answers")
    return warning(name, f"{url}/health answers with status {answer.status_code}", fix)


def _model(name: str, model: str) -> Check:
    """A path has to be there; a name is a hub's, where vLLM looks for it."""
    path = Path(model)
    if path.exists():
        there = (path / "config.json").is_file() or path.is_file()
        return (
            ok(name, f"launched on {model}") if there else problem(name, f"{model} has no config.json", "name a model")
        )
    if path.is_absolute() or model.startswith(".") or model.count("/") != 1:
        return problem(name, f"the model {model} is not there", "mend `launch: {model: ...}`")
    return ok(name, f"launched on {model}, which vLLM fetches if it is not in its cache")


def _files(config: Config) -> Iterator[Check]:
    if config.keys is not None:
        try:
            yield ok("keys", f"{config.keys}: {len(load_keys(config.keys).keys)} keys")
        except KeysError as error:
            yield problem("keys", str(error), "make one with `agentserve keys create TENANT`")
    if config.state is not None:
        try:
            load_state(config.state)
            yield from _writable("state", config.state)
        except StateError as error:
            yield problem("state", str(error), "move it away: the gateway then begins with nothing learned")
    for name, path in (("event_log", config.event_log), ("record", config.record)):
        if path is not None:
            yield from _writable(name, path)


def _writable(name: str, path: Path) -> Iterator[Check]:
    folder = next(each for each in path.absolute().parents if each.is_dir())
    if not os.access(path if path.exists() else folder, os.W_OK):
        yield problem(name, f"{path} cannot be written", "choose another file, or change who may write there")
    else:
        yield ok(name, f"{path} can be written")


def _extras(config: Config) -> Iterator[Check]:
    wanted = (("tracing", config.tracing, "opentelemetry.sdk"), ("tune", config.tune, "optuna"))
    for name, section, module in wanted:
        if section is None:
            continue
        if _has(module):
            yield ok(name, f"{module} is installed")
        else:
            yield problem(name, f"{module} is not installed", f"`pip install 'agentserve[{name}]'`")


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
