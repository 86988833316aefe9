"""A real vLLM with the plugin, started once a session for the tests marked `engine`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from agentserve.engines import installed
from agentserve.engines.demo_model import prepare
from agentserve.vllm_plugin.environment import PLUGINS_VARIABLE, plugins_value

MODEL = "smollm2"
BLOCK_SIZE = 32
KV_BLOCKS = 256
START_SECONDS = 300

MODEL_PATH = Path(__file__).parent.parent / ".models" / MODEL


@dataclass(frozen=True)
class RealEngine:
    """Where the engine answers, the model's name, and where it logs."""

    url: str
    model: str
    log: Path


@pytest.fixture(scope="session")
def vllm_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """SmolLM2 with 8,192 tokens of KV, priority scheduling and the plugin."""
    port = free_port()
    engine = RealEngine(f"http://127.0.0.1:{port}", MODEL, tmp_path_factory.mktemp("vllm") / "engine.log")
    with engine.log.open("wb") as log:
        process = subprocess.Popen(
            _command(prepare(MODEL_PATH), port),
            env=_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_healthy(process, engine)
        yield engine
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(model: Path, port: int) -> list[str]:
    flags = {
        "--model": str(model),
        "--served-model-name": MODEL,
        "--host": "127.0.0.1",
        "--port": str(port),
        "--block-size": str(BLOCK_SIZE),
        "--num-gpu-blocks-override": str(KV_BLOCKS),
        "--max-model-len": "4096",
        "--scheduling-policy": "priority",
        "--scheduler-cls": "agentserve.vllm_plugin.scheduler.make_scheduler",
        "--tool-call-parser": "hermes",
        "--dtype": "float32" if installed.emulates_bfloat16() else "auto",
    }
    switches = ["--enforce-eager", "--enable-prompt-tokens-details", "--enable-auto-tool-choice"]
    values = [part for flag in flags.items() for part in flag]
    return [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", *values, *switches]


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        PLUGINS_VARIABLE: plugins_value(os.environ),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_RESPONSES_API_STORE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def free_port() -> int:
    """A port on loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_healthy(process: subprocess.Popen[bytes], engine: RealEngine) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"vLLM ended with {process.returncode} while starting:\n{_tail(engine.log)}")
        try:
            if httpx.get(f"{engine.url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"vLLM was not healthy after {START_SECONDS} s:\n{_tail(engine.log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])
