"""A gateway process in front of the real engine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine_fixture import RealEngine
from tests.gateway.test_process import until_ready


@dataclass(frozen=True, slots=True)
class Gateway:
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def events(self) -> list[dict[str, Any]]:
        """What the brain was told, as far as it is written."""
        return [json.loads(line) for line in self.log.read_text().splitlines()[1:]]

    def stop(self) -> None:
        """Ends the process, which writes the rest of its log."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def programs(self) -> list[str]:
        """The program of each call."""
        return [str(event["program"][1]) for event in self.events() if event["event"] == "CallArrived"]

    def tools(self) -> list[object]:
        """The tools that each answer called."""
        return [event.get("tools", []) for event in self.events() if event["event"] == "CallFinished"]


@pytest.fixture
def gateway(vllm_engine: RealEngine, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway process attached to the running engine."""
    with attached(vllm_engine, tmp_path) as process:
        yield process


@contextmanager
def attached(vllm_engine: RealEngine, folder: Path, **settings: object) -> Iterator[Gateway]:
    """The same, with more in its configuration."""
    with reserved_port() as port, _started(vllm_engine, folder, port, settings) as gateway:
        yield gateway


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port of loopback that nobody else is given as a free one, whenever it is that a process listens there."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def _started(vllm_engine: RealEngine, folder: Path, port: int, settings: Mapping[str, object]) -> Iterator[Gateway]:
    engine = {"name": "real", "url": vllm_engine.url, "priority": True}
    config = {
        "listen": f"127.0.0.1:{port}",
        "event_log": str(folder / "events.jsonl"),
        "pools": [{"model": vllm_engine.model, "engines": [engine]}],
        **settings,
    }
    file = folder / "agentserve.yaml"
    file.write_text(json.dumps(config))
    process = subprocess.Popen([sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(file)])
    try:
        until_ready(f"http://127.0.0.1:{port}")
        yield Gateway(f"http://127.0.0.1:{port}", folder / "events.jsonl", process)
    finally:
        process.kill()
        process.wait()
