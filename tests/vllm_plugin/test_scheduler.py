"""The plugin in vLLM's real schedulers, both kinds, with a worker that checks every KV slot."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Protocol

import pytest
from vllm.platforms import current_platform
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from agentserve.vllm_plugin import compat, scheduler
from agentserve.vllm_plugin.compat import UnsupportedVllmError
from agentserve.vllm_plugin.reports import Outcome
from tests.vllm_plugin.hand_driven import (
    BLOCK_SIZE,
    Extra,
    HandEngine,
    call_of,
    completion,
)


class Build(Protocol):
    def __call__(self, blocks: int = 17, plugin: bool = True) -> HandEngine: ...


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(scheduler, "monotonic", clock)
    return clock


@pytest.fixture(params=[False, True], ids=["synchronous", "asynchronous"])
def build(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Build:
    def build(blocks: int = 17, plugin: bool = True) -> HandEngine:
        return HandEngine(tmp_path, blocks, asynchronous=request.param, plugin=plugin)

    return build


def text(seed: int, blocks: float) -> list[int]:
    return random.Random(seed).choices(range(1, 256), k=int(blocks * BLOCK_SIZE))


def reports(engine: HandEngine, outcome: Outcome) -> list[tuple[str, int]]:
    found = engine.scheduler.retention.reports.since(0)
    return [(report.program, report.tokens) for report in found if report.outcome is outcome]


def held(engine: HandEngine) -> int:
    blocks: int = engine.scheduler.retention.ownership.held_blocks
    return blocks


def fill(engine: HandEngine, blocks: int) -> None:
    """A request of no program comes and goes, which takes this many blocks."""
    engine.complete(f"filler {len(engine.outputs)}", text(len(engine.outputs) + 1000, blocks - 0.5), max_tokens=1)


def test_the_class_follows_the_kind_of_scheduling(tmp_path: Path) -> None:
    assert isinstance(HandEngine(tmp_path, asynchronous=True).scheduler, AsyncScheduler)
    assert not isinstance(HandEngine(tmp_path, asynchronous=False).scheduler, AsyncScheduler)


@pytest.mark.parametrize("cpu", [True, False])
def test_a_seed_reaches_the_model_runner_unless_that_is_on_a_cpu(
    build: Build, monkeypatch: pytest.MonkeyPatch, cpu: bool
) -> None:
    monkeypatch.setattr(current_platform, "is_cpu", lambda: cpu)
    engine = build()
    engine.add("seeded", text(1, 9), seed=7)
    (request,) = engine.scheduler.waiting
    assert request.sampling_params.seed == (None if cpu else 7)
    engine.run()
    assert engine.outputs["seeded"] == completion(text(1, 9), 4)


def test_an_unknown_vllm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "vllm_version", lambda: "0.34.0")
    with pytest.raises(UnsupportedVllmError, match=r"supports vLLM 0\.26 to 0\.33, but this is vLLM 0\.34\.0"):
        scheduler.make_scheduler(None)
    compat.require_supported(compat.vllm_version())


def test_a_program_finds_its_context_after_others_have_filled_the_cache(build: Build) -> None:
    engine = build()
    context = engine.complete("first", text(1, 4), extra=call_of("agent", 1, 60))
    for _ in range(3):
        fill(engine, 10)
    engine.complete("second", [*context, *text(2, 1)], extra=call_of("agent", 1, 60))
    assert engine.cached["second"] == 4 * BLOCK_SIZE
    assert reports(engine, Outcome.HIT) == [("agent", 4 * BLOCK_SIZE)]


def test_without_a_ticket_the_same_context_is_lost(build: Build) -> None:
    engine = build()
    context = engine.complete("first", text(1, 4))
    for _ in range(3):
        fill(engine, 10)
    engine.complete("second", [*context, *text(2, 1)])
    assert engine.cached["second"] == 0


def test_the_output_of_a_call_is_protected_too(build: Build) -> None:
    engine = build()
    context = engine.complete("first", text(6, 2), max_tokens=20, extra=call_of("agent", ttl=60))
    assert len(context) == 2 * BLOCK_SIZE + 20
    assert held(engine) == 3


def test_a_pin_expires_and_gives_all_blocks_back(build: Build, clock: Clock) -> None:
    engine = build()
    engine.complete("first", text(1, 4), extra=call_of("agent", ttl=5))
    assert (held(engine), engine.free_blocks) == (4, 16)
    clock.now += 5
    engine.complete("tick", text(2, 1), max_tokens=1)
    assert (held(engine), engine.free_blocks) == (0, 16)
    assert reports(engine, Outcome.EXPIRED) == [("agent", 4 * BLOCK_SIZE)]
    assert len(engine.scheduler.free_queue.get_all_free_blocks()) == 16


def test_a_running_request_breaks_pins_before_anyone_is_preempted(build: Build) -> None:
    engine = build()
    engine.complete("old", text(1, 8), extra=call_of("old", 0, 60))
    engine.add("young", text(13, 7.5), max_tokens=60, extra=call_of("young", 9))
    engine.run()
    assert engine.outputs["young"] == completion(text(13, 7.5), 60)
    assert len(engine.outputs["young"]) > BLOCK_SIZE, "the request has to grow into the pin"
    assert engine.preemptions == 0
    assert len(reports(engine, Outcome.BROKEN)) == 1


def test_the_latest_program_is_broken_first(build: Build) -> None:
    engine = build()
    engine.complete("late", text(1, 5), extra=call_of("late", 7, 60))
    engine.complete("early", text(2, 5), extra=call_of("early", 2, 60))
    fill(engine, 9)
    pins = engine.scheduler.retention.pins
    assert (pins["early"].tokens, pins["late"].tokens) == (5 * BLOCK_SIZE, 2 * BLOCK_SIZE)
    assert [program for program, _ in reports(engine, Outcome.BROKEN)] == ["late"]
    engine.complete("back", text(1, 5.5), extra=call_of("late", 7))
    assert engine.cached["back"] == 2 * BLOCK_SIZE, "what is left of a broken pin is the head of its context"


def test_a_waiting_request_does_not_break_an_older_pin_while_something_runs(build: Build) -> None:
    engine = build()
    engine.complete("old", text(1, 8), extra=call_of("old", 1, 60))
    engine.add("runner", text(3, 1), max_tokens=12, priority=0, extra=call_of("runner", 0))
    engine.step()
    engine.add("young", text(4, 8), priority=5, extra=call_of("young", 5))
    engine.step()
    engine.step()
    assert engine.running == ["runner"]
    engine.run()
    assert engine.outputs["young"] == completion(text(4, 8), 4), "it goes on once nothing runs"
    assert engine.outputs["runner"] == completion(text(3, 1), 12)


def test_a_waiting_request_may_break_a_younger_pin_at_once(build: Build) -> None:
    engine = build()
    engine.complete("young", text(1, 8), extra=call_of("young", 5, 60))
    engine.add("runner", text(3, 1), max_tokens=12, extra=call_of("runner", 0))
    engine.step()
    engine.add("old", text(4, 8), extra=call_of("old", 1))
    engine.step()
    engine.step()
    assert engine.running == ["runner", "old"]


def test_the_guard_breaks_nothing_while_plain_blocks_suffice(build: Build) -> None:
    engine = build()
    engine.complete("old", text(1, 4), extra=call_of("old", 1, 60))
    engine.complete("young", text(2, 4), extra=call_of("young", 9, 60))
    engine.add("runner", text(3, 1), max_tokens=12, extra=call_of("runner", 0))
    engine.step()
    engine.add("middle", text(4, 5), max_tokens=1, extra=call_of("middle", 5))
    engine.step()
    engine.step()
    assert "middle" in engine.running or engine.outputs["middle"]
    assert reports(engine, Outcome.BROKEN) == []


def test_without_the_guard_any_waiting_request_breaks_pins(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTSERVE_GUARD", "0")
    engine = build()
    engine.complete("old", text(1, 8), extra=call_of("old", 1, 60))
    engine.add("runner", text(3, 1), max_tokens=12, extra=call_of("runner", 0))
    engine.step()
    engine.add("young", text(4, 8), priority=5, extra=call_of("young", 5))
    engine.step()
    engine.step()
    assert engine.running == ["runner", "young"]


def test_a_pin_past_its_ttl_holds_no_one_back(build: Build, clock: Clock) -> None:
    engine = build()
    engine.complete("old", text(1, 8), extra=call_of("old", 1, 60))
    engine.add("runner", text(3, 1), max_tokens=12, extra=call_of("runner", 0))
    engine.step()
    engine.add("young", text(4, 8), priority=5, extra=call_of("young", 5))
    clock.now += 60
    engine.step()
    engine.step()
    assert engine.running == ["runner", "young"]


def test_an_aborted_call_leaves_the_earlier_pin(build: Build) -> None:
    engine = build()
    context = engine.complete("first", text(1, 4), extra=call_of("agent", ttl=60))
    engine.add("second", [*context, *text(2, 3)], max_tokens=50, extra=call_of("agent", ttl=60))
    for _ in range(4):
        engine.step()
    assert held(engine) == 0, "a running call references its blocks"
    engine.abort("second")
    engine.run()
    assert (held(engine), engine.free_blocks) == (4, 16)


def test_a_request_aborted_before_it_ran_changes_nothing(build: Build) -> None:
    engine = build()
    engine.complete("first", text(1, 4), extra=call_of("agent", ttl=60))
    engine.add("second", text(1, 5), extra=call_of("agent", ttl=60))
    engine.abort("second")
    engine.run()
    assert held(engine) == 4


@pytest.mark.parametrize(
    "ticket",
    [
        {"agentserve_program": 7, "agentserve_ttl": 5},
        {"agentserve_program": "", "agentserve_ttl": 5},
        {"agentserve_program": "x" * 601, "agentserve_ttl": 5},
        {"agentserve_program": "\ud800", "agentserve_ttl": 5},
        {"agentserve_program": "p", "agentserve_ttl": "soon"},
        {"agentserve_program": "p", "agentserve_ttl": -1},
        {"agentserve_program": "p", "agentserve_ttl": float("nan")},
        {"agentserve_program": "p", "agentserve_ttl": 2**63},
        {"agentserve_program": "p", "agentserve_ttl": 5, "agentserve_rank": -1},
        {"agentserve_program": "p", "agentserve_ttl": 5, "agentserve_rank": 2**63},
        {"agentserve_program": "p", "agentserve_ttl": 5, "agentserve_rank": 1.5},
        {"agentserve_program": "p", "agentserve_ttl": 5, "agentserve_rank": "first"},
    ],
    ids=lambda ticket: str(ticket)[:40],
)
def test_a_bad_ticket_is_counted_and_its_request_runs_as_stock(tmp_path: Path, ticket: Extra) -> None:
    engine = HandEngine(tmp_path)
    engine.add("call", text(1, 4), extra=ticket)
    engine.run()
    assert engine.outputs["call"] == completion(text(1, 4), 4)
    assert (engine.scheduler.ignored, held(engine)) == (1, 0)


def test_resetting_the_prefix_cache_drops_pins(build: Build) -> None:
    engine = build()
    engine.complete("first", text(1, 4), extra=call_of("agent", ttl=60))
    assert engine.scheduler.reset_prefix_cache()
    assert (held(engine), engine.free_blocks) == (0, 16)
    assert reports(engine, Outcome.LOST) == [("agent", 4 * BLOCK_SIZE)]
    assert len(engine.scheduler.free_queue.get_all_free_blocks()) == 16
    engine.complete("second", text(1, 5), extra=call_of("agent", ttl=60))
    assert engine.cached["second"] == 0


def test_a_reset_that_is_refused_keeps_pins(build: Build) -> None:
    engine = build()
    engine.complete("first", text(1, 4), extra=call_of("agent", ttl=60))
    engine.add("runner", text(2, 2), max_tokens=30)
    engine.step()
    assert not engine.scheduler.reset_prefix_cache()
    assert held(engine) == 4


def test_a_reset_under_running_requests_leaves_their_output_right(build: Build) -> None:
    engine = build()
    engine.complete("first", text(1, 4), extra=call_of("agent", ttl=60))
    engine.add("runner", text(2, 2), max_tokens=30, extra=call_of("runner", ttl=60))
    for _ in range(3):
        engine.step()
    assert engine.scheduler.reset_prefix_cache(reset_running_requests=True)
    assert held(engine) == 0
    engine.run()
    assert engine.outputs["runner"] == completion(text(2, 2), 30)


def test_requests_without_tickets_are_scheduled_as_by_stock_vllm(build: Build) -> None:
    def history(engine: HandEngine) -> tuple[list[list[str]], dict[str, list[int]], dict[str, int], int]:
        rng = random.Random(5)
        steps = []
        for number in range(60):
            engine.add(f"r{number}", text(rng.randrange(8), rng.uniform(0.5, 6)), rng.randint(1, 40))
            engine.step()
            steps.append(engine.running)
        engine.run()
        return steps, engine.outputs, engine.cached, engine.preemptions

    with_plugin, stock = history(build(plugin=True)), history(build(plugin=False))
    assert with_plugin == stock
    assert stock[3] > 0, "the load should preempt"
