from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from agentserve.config import Launch
from agentserve.engines import command
from agentserve.engines.base import EngineError
from agentserve.engines.launched import LaunchedEngine
from scheduler.types import EngineId
from tests.engines.mock_engine import eventually

FAKE = (sys.executable, "-P", str(Path(__file__).with_name("fake_vllm.py")))
Build = Callable[[Launch], LaunchedEngine]


@pytest.fixture
async def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Build]:
    """Builds engines that are a fake process, and stops them at the end."""
    monkeypatch.setattr(command, "SERVER", FAKE)
    built: list[LaunchedEngine] = []

    def build(launch: Launch) -> LaunchedEngine:
        built.append(LaunchedEngine(EngineId("a"), launch, "smollm2", tmp_path / "logs" / "a.log"))
        return built[-1]

    yield build
    for engine in built:
        await engine.stop()


def launch(*args: str, **fields: object) -> Launch:
    return Launch.model_validate({"model": "m", "args": list(args), **fields})


def ignore(line: str) -> None:
    """Nobody reads the progress."""


async def lines(engine: LaunchedEngine, path: str) -> list[str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(engine.url + path)).text.splitlines()


async def crash(engine: LaunchedEngine) -> None:
    """Lets the process end itself, and waits until that is known."""
    with pytest.raises(EngineError):
        await engine.open("/crash", {}, b"")
    await eventually(lambda: engine.gone() is not None)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_launched_engine_gets_our_arguments_and_then_the_users(build: Build) -> None:
    engine = build(launch("--max-num-seqs", "7", "--scheduling-policy", "fcfs"))
    spec = await engine.start(ignore)
    args = await lines(engine, "/args")
    assert args[-4:] == ["--max-num-seqs", "7", "--scheduling-policy", "fcfs"]
    assert args[:4] == ["--model", "m", "--served-model-name", "smollm2"]
    assert args[args.index("--scheduler-cls") + 1] == "agentserve.vllm_plugin.scheduler.make_scheduler"
    assert (spec.models, spec.max_num_seqs, spec.priority) == (("smollm2",), 7, False)


async def test_the_launched_port_and_environment_are_the_users(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    engine = build(launch(port=port, env={"VLLM_CPU_KVCACHE_SPACE": 3, "VLLM_PLUGINS": "mine"}))
    spec = await engine.start(ignore)
    assert engine.url == f"http://127.0.0.1:{port}"
    assert spec.priority
    assert {"VLLM_CPU_KVCACHE_SPACE=3", "VLLM_PLUGINS=mine,agentserve"} <= set(await lines(engine, "/env"))


async def test_a_port_in_use_is_refused_before_anything_starts(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EngineError, match=f"engine a cannot have port {port} .*or leave launch.port out"):
            await build(launch(port=port)).start(ignore)


async def test_a_process_that_ends_while_starting_fails_with_the_end_of_its_log(build: Build) -> None:
    engine = build(launch("--refuse", "no such model: m"))
    with pytest.raises(EngineError) as caught:
        await engine.start(ignore)
    assert str(caught.value).splitlines() == [
        f"engine a did not start: its process ended with exit code 1 (log: {engine.log})",
        "  loading weights",
        "  no such model: m",
    ]
    assert engine.log.read_text() == "loading weights\nno such model: m\n"


async def test_a_command_that_does_not_exist_fails_clearly(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SERVER", ("/no/such/python",))
    engine = build(launch())
    with pytest.raises(EngineError, match=r"engine a could not be started: .*No such file"):
        await engine.start(ignore)


async def test_an_engine_that_serves_the_wrong_thing_is_not_left_running(build: Build) -> None:
    engine = build(launch("--serve-other"))
    with pytest.raises(EngineError, match="serves other, not smollm2"):
        await engine.start(ignore)
    assert not await engine.healthy()


async def test_an_engine_that_crashed_says_how_and_can_be_started_again(build: Build) -> None:
    engine = build(launch())
    await engine.start(ignore)
    assert engine.gone() is None
    await crash(engine)
    assert "exit code 7" in str(engine.gone())
    assert "out of memory" in str(engine.gone())
    await engine.start(ignore)
    assert engine.gone() is None
    assert await engine.healthy()
    assert engine.log.read_text().splitlines() == ["loading weights", "out of memory", "loading weights"]


async def test_the_log_of_an_earlier_gateway_is_replaced(build: Build) -> None:
    first = build(launch())
    await first.start(ignore)
    second = build(launch())
    await second.start(ignore)
    assert second.log.read_text() == "loading weights\n"


async def test_stopping_ends_a_process_that_will_not_and_its_children(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentserve.engines.launched.GRACE", 0.1)
    engine = build(launch("--stubborn"))
    await engine.start(ignore)
    pids = [int(pid) for pid in await lines(engine, "/pids")]
    assert os.getpid() not in pids
    assert all(map(is_alive, pids))
    await engine.stop()
    await eventually(lambda: not any(map(is_alive, pids)))


async def test_a_slow_start_is_told_with_the_last_line_of_the_log(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentserve.engines.launched.TELL_EVERY", 0.0)
    told: list[str] = []
    await build(launch("--slow")).start(told.append)
    assert any(line.startswith("engine a is starting, ") and line.endswith(": loading weights") for line in told)


async def test_a_cancelled_start_leaves_no_process_once_stopped(build: Build) -> None:
    engine = build(launch("--hang"))
    task = asyncio.create_task(engine.start(ignore))
    await eventually(lambda: engine.log.exists() and "pid" in engine.log.read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pid = int(engine.log.read_text().split()[-1])
    assert is_alive(pid)
    await engine.stop()
    assert not is_alive(pid)
