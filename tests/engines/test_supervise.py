from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

import pytest

from agentserve.engines.base import Engine, EngineError, PinOrder, PinReport, Progress, Pulse, Reply
from agentserve.engines.supervise import MISSES, State, Supervisor
from scheduler.types import EngineId, EngineSpec
from tests.engines.mock_engine import eventually

SPEC = EngineSpec(models=("m",), kv_tokens=8192, block_size=32, max_model_len=4096)
PULSE = Pulse(1, 0, 100)


class ScriptedEngine:
    """An engine whose starts fail as told and whose health is a switch."""

    name = EngineId("a")
    url = "http://nowhere"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.starts = 0
        self.stops = 0
        self.alive = True
        self.talks = True
        self.asked = 0
        self.ended: str | None = None

    async def start(self, progress: Progress) -> EngineSpec:
        self.starts += 1
        if self.failures:
            self.failures -= 1
            raise EngineError("engine a is not ready")
        self.alive, self.ended = True, None
        return SPEC

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        raise EngineError("nothing is served here")

    async def healthy(self) -> bool:
        return self.alive

    def gone(self) -> str | None:
        return self.ended

    async def observe(self) -> Pulse:
        self.asked += 1
        if not self.talks:
            raise EngineError("no metrics")
        return PULSE

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        return []

    async def stop(self) -> None:
        self.stops += 1


class Diary:
    """Writes down what a watcher is told."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.pulses: list[float] = []
        self._news = asyncio.Event()

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        assert spec is SPEC
        self._write("up")

    def engine_down(self, engine: Engine, reason: str) -> None:
        self._write(f"down: {reason}")

    def engine_observed(self, engine: Engine, as_of: float, pulse: Pulse) -> None:
        assert pulse is PULSE
        self.pulses.append(as_of)
        self._news.set()

    def _write(self, entry: str) -> None:
        self.entries.append(entry)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self._news.clear()
                await self._news.wait()


def has_been_up(diary: Diary, times: int) -> bool:
    return diary.entries.count("up") == times


@contextlib.asynccontextmanager
async def supervised(engine: ScriptedEngine) -> AsyncIterator[tuple[Supervisor, Diary, list[str]]]:
    diary, lines = Diary(), list[str]()
    supervisor = Supervisor(engine, diary, lines.append, interval=0.001)
    task = asyncio.create_task(supervisor.run())
    yield supervisor, diary, lines
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_engine_that_is_up_is_observed_again_and_again() -> None:
    async with supervised(ScriptedEngine()) as (supervisor, diary, _):
        await diary.until(lambda: len(diary.pulses) >= 3)
        assert diary.entries == ["up"]
        assert diary.pulses == sorted(diary.pulses)
        assert (supervisor.state, supervisor.problem) == (State.UP, "")


async def test_a_failed_start_is_tried_again_ever_more_patiently() -> None:
    engine = ScriptedEngine(failures=7)
    async with supervised(engine) as (_, diary, lines):
        await diary.until(lambda: diary.entries == ["up"])
    waits = [line.split()[-2] for line in lines if "trying again" in line]
    assert waits == ["0.001", "0.002", "0.004", "0.008", "0.016", "0.03", "0.03"]
    assert lines[0] == "engine a is not ready"
    assert lines[-1] == "engine a: trying again in 0.03 s", "that it is up its watcher says"


async def test_an_engine_is_down_after_missed_health_checks_and_comes_back() -> None:
    engine = ScriptedEngine()
    async with supervised(engine) as (_, diary, _):
        await diary.until(lambda: bool(diary.pulses))
        engine.alive = False
        await diary.until(partial(has_been_up, diary, 2))
    assert diary.entries == ["up", "down: it failed 3 health checks in a row", "up"]


async def test_a_process_that_has_ended_is_down_at_once() -> None:
    engine = ScriptedEngine()
    async with supervised(engine) as (_, diary, lines):
        await diary.until(lambda: bool(diary.pulses))
        engine.ended = "exit code 7"
        await diary.until(partial(has_been_up, diary, 2))
    assert diary.entries == ["up", "down: exit code 7", "up"]
    assert "engine a is down: exit code 7" in lines


async def test_an_engine_that_cannot_stay_up_is_not_started_in_a_frenzy() -> None:
    engine = ScriptedEngine()
    async with supervised(engine) as (_, diary, lines):
        for life in range(1, 5):
            await diary.until(partial(has_been_up, diary, life))
            engine.ended = "exit code 1"
        await diary.until(partial(has_been_up, diary, 5))
    waits = [line.split()[-2] for line in lines if "trying again" in line]
    assert waits == ["0.001", "0.002", "0.004", "0.008"]


async def test_an_engine_that_tells_nothing_stays_up() -> None:
    engine = ScriptedEngine()
    engine.talks = False
    async with supervised(engine) as (supervisor, diary, _):
        await diary.until(lambda: diary.entries == ["up"])
        await eventually(lambda: engine.asked > 2 * MISSES)
        assert supervisor.state is State.UP
    assert diary.entries == ["up"]
    assert diary.pulses == []


@pytest.mark.parametrize("failures", [0, 1000])
async def test_cancelling_stops_the_engine_whatever_its_state(failures: int) -> None:
    engine = ScriptedEngine(failures)
    async with supervised(engine) as (supervisor, _, _):
        await eventually(lambda: engine.starts > 0)
        assert engine.stops == 0
    assert engine.stops == 1
    assert supervisor.state is State.STOPPED
