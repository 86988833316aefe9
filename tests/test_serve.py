from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """A gateway with one launched engine that is up: its process, its URL and the engine's."""
    port, engine_port = free_port(), free_port()
    config = tmp_path / "agentserve.yaml"
    engine = f"{{launch: {{model: m, port: {engine_port}}}}}"
    config.write_text(f"listen: 127.0.0.1:{port}\npools: [{{model: m, engines: [{engine}]}}]\n")
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve_fake", "serve", "--config", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        )
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/ready"), "the gateway did not become ready")
        yield process, url, f"http://127.0.0.1:{engine_port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_that_is_asked_to_end_ends_its_engines(
    gateway: tuple[subprocess.Popen[bytes], str, str], number: signal.Signals
) -> None:
    process, _, engine = gateway
    assert answers(f"{engine}/health")
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not answers(f"{engine}/health")


def test_an_engine_that_crashes_comes_back(gateway: tuple[subprocess.Popen[bytes], str, str]) -> None:
    _, url, engine = gateway
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{engine}/crash", trust_env=False)
    eventually(lambda: not answers(f"{url}/ready"), "the crash was not noticed")
    eventually(lambda: answers(f"{url}/ready"), "the engine did not come back")
    assert answers(f"{engine}/health")
