"""Tuning in the background: what is searched, what is put on trial, what stays; all in virtual time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from multiprocessing import active_children
from pathlib import Path

import pytest

from agentserve.config import ConfigError, TuneSection, parse
from agentserve.gateway import tuner as module
from agentserve.gateway.driver import Driver
from agentserve.gateway.metrics import Metrics
from agentserve.gateway.server import run
from agentserve.gateway.tuner import SLICE, Tuner
from agentserve.gateway.tuning.apart import apart
from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.search import FEWEST, Engines, Found, Order, Question, Window, find, search, see
from agentserve.gateway.tuning.slices import Period
from agentserve.gateway.tuning.trial import ENOUGH, TOO_MANY, Slice
from scheduler.brain import Brain, Decision
from scheduler.events import Event, PolicyChanged
from scheduler.policy import PolicyConfig
from simulator.profile import Measured, SavedProfile, save_profile
from simulator.tune.gain import Gain
from simulator.tune.objective import parse_objective
from simulator.tune.outcome import Outcome
from simulator.tune.plan import Plan
from simulator.tune.space import Parameter, with_values
from tests.gateway.fakes import SPEC, FakeEngine
from tests.gateway.traffic import ENGINE, call, recording
from tests.gateway.world import ANY_POOL, configure, eventually
from tests.scheduler.world import STEADY
from tests.simulator.worlds import PROFILE
from workloads.traces.recording import RECORDING, RecordedCall

OLD = STEADY
NEW = with_values(OLD, {Parameter("retention", "fixed_ttl", "ttl"): 5.0})
EVERY, WINDOW = 600.0, 905.0


class OverError(Exception):
    """The test has seen enough."""


def outcome(gain: Gain) -> Outcome:
    values = {Parameter("retention", "fixed_ttl", "ttl"): 5.0}
    return Outcome(OLD, NEW, values, gain, 8, (), 100, separated=True)


BETTER, UNCERTAIN = outcome(Gain(0.1, 0.05, 0.15)), outcome(Gain(0.1, -0.05, 0.25))


class Scene:
    """A gateway whose traffic is made up: a call every ten seconds, which takes as long as the policy in force says."""

    def __init__(self, folder: Path, took: Callable[[PolicyConfig], float], found: Outcome, sleeps: int) -> None:
        self.recording = folder / "calls.jsonl"
        self.recording.write_bytes(RECORDING.header)
        self.took = took
        self.found = found
        self.left = sleeps
        self.ends_with_the_search = False
        """No call comes any more once something was searched."""
        self.fails_after = -1
        """So many changes of policy."""
        self.breaks = 0
        """So many searches break."""
        self.now = 1_700_000_000.0
        self.calls = 0
        self.slept: list[float] = []
        self.orders: list[Order] = []
        self.found_calls: list[int] = []
        self.policies: list[PolicyConfig] = []
        self.driver = Driver(Brain(OLD), Metrics(), [self.note])

    def note(self, event: Event, decision: Decision) -> None:
        if isinstance(event, PolicyChanged):
            self.policies.append(event.policy)

    async def search(self, order: Order) -> Found:
        self.orders.append(order)
        if len(self.orders) <= self.breaks:
            raise ZeroDivisionError("a mistake")
        calls = order.window.calls()
        self.found_calls.append(len(calls))
        return Found(self.found, order.engines.modelled(calls), len(calls))

    async def look(self, question: Question) -> Slice | None:
        return see(question)

    def next_call(self) -> RecordedCall:
        self.calls += 1
        took = self.took(self.driver.brain.policy) * (1 + 0.01 * (self.calls % 7))
        return call(self.now - took, took, f"p{self.calls}")

    async def sleep(self, seconds: float) -> None:
        if len(self.policies) == self.fails_after:
            self.fails_after = -1
            raise OSError("the disk is gone")
        if not self.left:
            raise OverError
        self.left -= 1
        self.slept.append(seconds)
        end = self.now + seconds
        while self.now < end:
            if not (self.orders and self.ends_with_the_search):
                with self.recording.open("ab") as file:
                    file.write(RECORDING.line(self.next_call()))
            self.now += 10.0

    async def play(self, **settings: object) -> None:
        section = TuneSection.model_validate({"every": EVERY, "window": WINDOW, **settings})
        tuner = Tuner(
            section,
            self.recording,
            self.driver,
            searcher=self.search,
            looker=self.look,
            sleep=self.sleep,
            clock=lambda: self.now,
        )
        with pytest.raises(OverError):
            await tuner.run()
        self.driver.close()


def scene(
    folder: Path, took: Callable[[PolicyConfig], float], found: Outcome = BETTER, sleeps: int = 2 + ENOUGH
) -> Scene:
    made = Scene(folder, took, found, sleeps)
    made.driver.engine_up(FakeEngine(), FakeEngine().spec)
    return made


def faster(policy: PolicyConfig) -> float:
    return 3.0 if policy == NEW else 4.0


def slower(policy: PolicyConfig) -> float:
    return 4.4 if policy == NEW else 4.0


async def test_a_setting_that_gains_is_tried_in_turns_and_stays(tmp_path: Path) -> None:
    world = scene(tmp_path, faster)
    await world.play()
    assert world.policies == [NEW, OLD, NEW, OLD, NEW]
    assert world.driver.brain.policy == NEW
    assert world.slept == [EVERY] + [SLICE] * (ENOUGH + 1)


async def test_one_that_loses_live_is_taken_back_and_the_next_search_waits_longer(tmp_path: Path) -> None:
    world = scene(tmp_path, slower, sleeps=40)
    await world.play()
    pauses = [seconds for seconds in world.slept if seconds != SLICE]
    assert world.policies[-1] == OLD
    assert pauses[:3] == [EVERY, 2 * EVERY, 4 * EVERY]


async def test_without_a_gain_for_certain_nothing_is_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentserve")
    world = scene(tmp_path, faster, UNCERTAIN, sleeps=3)
    await world.play()
    assert world.policies == []
    assert len(world.orders) == 3
    assert world.slept == [EVERY] * 3
    assert "no gain for certain: mean completion lower by 9.5 %" in caplog.text


async def test_a_setting_without_traffic_to_show_for_it_is_taken_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentserve")
    world = scene(tmp_path, faster, sleeps=2 + TOO_MANY)
    world.ends_with_the_search = True
    await world.play()
    assert world.policies[0] == NEW
    assert world.driver.brain.policy == OLD
    assert "back to the policy before: there was too little traffic to compare them live" in caplog.text


async def test_a_search_sees_the_window_and_the_engines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentserve")
    world = scene(tmp_path, faster, UNCERTAIN, sleeps=3)
    await world.play(objective="slo@30", budget=10, seeds=3)
    assert world.found_calls == [60, 90, 90]
    order = world.orders[-1]
    assert (order.policy, str(order.objective)) == (OLD, "slo@30")
    assert [spec.kv_tokens for spec in order.engines.specs.values()] == [8192]
    assert order.idle_timeout == world.driver.brain.idle_timeout
    assert len({order.plan.seed for order in world.orders}) == 3
    assert (order.plan.budget, order.plan.seeds) == (10, 3)
    assert "simulated 60 calls on a with 8,192 KV tokens, profile 'learned' (prefill as assumed" in caplog.text


async def test_what_cannot_be_searched_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = Scene(tmp_path, faster, BETTER, sleeps=2)
    await world.play()
    assert world.policies == []
    assert caplog.text.count("given up until the next time: no engine is up") == 2


async def test_a_trial_that_breaks_off_leaves_the_old_policy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = scene(tmp_path, faster, sleeps=4)
    world.fails_after = 3
    await world.play()
    assert world.policies == [NEW, OLD, NEW, OLD]
    assert "given up until the next time: the disk is gone" in caplog.text


async def test_a_mistake_in_a_search_is_told_and_the_next_one_is_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = scene(tmp_path, faster, UNCERTAIN, sleeps=3)
    world.breaks = 2
    await world.play()
    assert (len(world.orders), len(world.found_calls)) == (3, 1)
    assert caplog.text.count("ZeroDivisionError: a mistake") == 2


# --- the search itself ------------------------------------------------------------------------------------------------

BEGIN = 1_700_000_000.0


def window(folder: Path, programs: int) -> Window:
    calls = [call(BEGIN + number, 2.0, f"p{number}") for number in range(programs)]
    return Window(recording(folder / "calls.jsonl", calls), BEGIN)


def order(folder: Path, programs: int) -> Order:
    engines = Engines({ENGINE: SPEC}, {}, SavedProfile(PROFILE))
    return Order(window(folder, programs), engines, OLD, parse_objective("mean_completion"), Plan(2, 2), 900.0)


def test_recorded_calls_are_searched(tmp_path: Path) -> None:
    found = find(order(tmp_path, FEWEST))
    assert len(found.outcome.trials) == 2
    assert (found.calls, [engine.name for engine in found.fleet]) == (FEWEST, ["a"])


async def test_the_other_process_reads_the_recording_itself(tmp_path: Path) -> None:
    found = await search(order(tmp_path, FEWEST))
    assert found.calls == FEWEST
    assert not active_children()


def test_how_a_slice_went_is_measured_on_the_recording(tmp_path: Path) -> None:
    profile = find(order(tmp_path, FEWEST)).fleet[0].profile
    found = see(Question(Window(tmp_path / "calls.jsonl", BEGIN), Period(BEGIN, BEGIN + 20.0, new=True), profile))
    assert found is not None
    assert found.new


async def test_too_few_programs_are_refused_by_the_other_process(tmp_path: Path) -> None:
    few = order(tmp_path, FEWEST - 1)
    with pytest.raises(TuningError, match="19 programs are too few to search with"):
        await search(few)
    assert not active_children()


async def test_the_other_process_ends_with_the_gateway(tmp_path: Path) -> None:
    task = asyncio.create_task(search(order(tmp_path, FEWEST)))
    await eventually(lambda: bool(active_children()), "the start of the search")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not active_children()


async def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    async def kill(task: Awaitable[Found]) -> None:
        await eventually(lambda: bool(active_children()), "the start of the search")
        active_children()[0].kill()
        await task

    with pytest.raises(TuningError, match=r"was killed \(SIGKILL\), perhaps for want of memory"):
        await kill(asyncio.create_task(search(order(tmp_path, FEWEST))))


def divide(number: int) -> float:
    return 1 / number


def leave(code: int) -> None:
    os._exit(code)


async def test_a_process_that_breaks_says_why() -> None:
    assert await apart(divide, 4) == 0.25
    with pytest.raises(TuningError, match=r"broke:(.|\n)*ZeroDivisionError: division by zero"):
        await apart(divide, 0)
    with pytest.raises(TuningError, match="ended with code 3"):
        await apart(leave, 3)


# --- configuration ----------------------------------------------------------------------------------------------------


def test_durations_may_have_units() -> None:
    config = parse({"pools": ANY_POOL, "record": "calls.jsonl", "tune": {"every": "10m", "window": "1.5h"}})
    assert config.tune == TuneSection(every=600.0, window=5400.0)
    assert parse({"pools": ANY_POOL}).tune is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tune": {}}, "tune: what it simulates is what was recorded; name a file with `record`"),
        ({"tune": {"every": "10 min"}, "record": "f"}, "tune.every: "),
        ({"tune": {"every": 0}, "record": "f"}, "tune.every: "),
        (
            {"tune": {"objective": "p59"}, "record": "f"},
            "tune.objective: an objective is mean_completion, p95, attainment for",
        ),
        ({"tune": {"seeds": 1}, "record": "f"}, "tune.seeds: "),
        ({"tune": {"budgt": 9}, "record": "f"}, "tune.budgt: unknown key; did you mean 'budget'?"),
        (
            {"tune": {}, "record": "f", "pools": [*ANY_POOL, {**ANY_POOL[0], "model": "n"}]},
            "tune: it can simulate one pool, and there are 2",
        ),
    ],
)
def test_a_section_that_cannot_be_used_is_told(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"pools": ANY_POOL, **settings})
    assert str(caught.value).startswith(expected)


def test_a_gateway_that_cannot_tune_ends_with_one_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, object] = {"record": str(tmp_path / "calls.jsonl"), "listen": "127.0.0.1:0"}
    assert run(configure([FakeEngine()], **settings, tune={"profile": str(tmp_path / "none.json")})) == 2
    assert "tune.profile" in caplog.text
    assert "none.json cannot be read: No such file" in caplog.text
    monkeypatch.setattr(module, "has_optuna", lambda: False)
    assert run(configure([FakeEngine()], **settings, tune={})) == 2
    assert "pip install 'agentserve[tune]'" in caplog.text


async def test_a_profile_of_another_model_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    save_profile(PROFILE, path, Measured("other", "a box", "2026-01-01", "calibrate", 4096, 2048, 128))
    section = TuneSection(profile=path)
    driver = Driver(Brain(OLD), Metrics(), [])
    with pytest.raises(TuningError, match=r"tune.profile: .*p\.json was measured on the model other .*, not m"):
        Tuner(section, tmp_path / "calls.jsonl", driver, model="m")
    Tuner(section, tmp_path / "calls.jsonl", driver, model="other")
    driver.close()
