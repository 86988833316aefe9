"""However a comparison ends, nothing that it started outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from agentserve.engines import command
from agentserve.engines.base import EngineError
from agentserve.text2sql.engines import Fleet, RealEngines
from tests.engines.test_launched import is_alive
from tests.test_serve import eventually
from tests.text2sql.held import FAKE

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc for a process's state")


@contextmanager
def held(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """A process that has started two engines and a brake, and these three, the brake first."""
    line = [sys.executable, "-m", "tests.text2sql.held", str(folder), *words]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        try:
            yield process, pids
        finally:
            process.kill()
    assert len(pids) == 3, "it has started them"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_engines_and_brake_end_with_a_command_that_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    with held(tmp_path, "wait") as (process, pids):
        assert all(map(is_alive, pids))
        process.send_signal(number)
        process.wait(30)
        assert not any(map(is_alive, pids))


def test_a_second_signal_does_not_cut_the_ending_short(tmp_path: Path) -> None:
    with held(tmp_path, "wait", "--stubborn") as (process, pids):
        process.terminate()
        eventually(lambda: not is_alive(pids[0]), "the brake has not ended")
        process.terminate()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        assert not any(map(is_alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that tells children of their parent's end")
def test_engines_and_brake_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    with held(tmp_path, "wait") as (process, pids):
        process.kill()
        process.wait()
        eventually(lambda: not any(map(is_alive, pids)), "something outlived the command")


def test_engines_and_brake_end_with_a_command_that_fails(tmp_path: Path) -> None:
    with held(tmp_path, "fail") as (process, pids):
        assert process.wait(30) == 1
        assert not any(map(is_alive, pids))


async def test_an_engine_that_does_not_start_is_told_and_ends_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SERVER", (sys.executable, "-P", str(FAKE), "--refuse", "no memory is left"))
    engines = RealEngines(Fleet(Path("m")), tmp_path)
    with pytest.raises(EngineError, match=r"(?s)engine (fast|slow) did not start.*no memory is left"):
        await engines.start(lambda _: None)
    await engines.stop()
    assert [engine.pid for engine in engines._engines] == [None, None]


async def test_an_engine_that_does_not_forget_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SERVER", (sys.executable, "-P", str(FAKE)))
    async with Fleet(Path("m")).up(tmp_path, lambda _: None) as engines:
        with pytest.raises(EngineError, match="engine fast does not empty its cache"):
            await engines.forget()


async def test_a_slow_engine_that_is_not_slow_any_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SERVER", (sys.executable, "-P", str(FAKE)))
    async with Fleet(Path("m")).up(tmp_path, lambda _: None) as engines:
        assert isinstance(engines, RealEngines)
        assert engines._brake is not None
        await engines._brake.stop()
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{engines.sections[1]['url']}/health")).is_success, "it runs on at full speed"
        with pytest.raises(EngineError, match="what slows the engine slow down has ended"):
            await engines.forget()
