"""InferCept's rule against its formula and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.actions import Retain
from scheduler.events import CallFirstToken, CallProgressed
from scheduler.policy import Choice, PolicyConfig
from scheduler.retention.preserve_discard import break_even
from scheduler.types import EngineId, StepCost
from tests.scheduler.world import World, key, spec

CODE = StepCost(constant=0.0154, prefill_token=0.0279e-3)
"""The forward time in the released code: 0.0279 ms a token and 15.4 ms."""
POLICY = PolicyConfig(
    "test",
    order=Choice("program_fcfs"),
    placement=Choice("sticky"),
    admission=Choice("unlimited"),
    retention=Choice("preserve_discard"),
)


def world() -> World:
    return World(POLICY, {"a": replace(spec(), cost=CODE)})


def ttl(world: World, program: str = "p") -> float:
    return world.brain.programs[key(program)].pin_until - world.now


def test_the_time_to_live_of_a_worked_example() -> None:
    # T_fwd(3840) is 0.122536 s, ten chunks of 384 take 0.261136 s, and others hold twice as much
    assert break_even(CODE, 3840, 10, 7680) == pytest.approx(0.061268 + 2 * 0.261136)


@given(st.integers(1, 100_000), st.integers(1, 100), st.integers(0, 500_000))
def test_keeping_for_the_time_to_live_wastes_as_much_as_discarding(context: int, chunks: int, other: int) -> None:
    def forward(tokens: float) -> float:
        return CODE.constant + CODE.prefill_token * tokens

    preserve = break_even(CODE, context, chunks, other) * context
    discard = forward(context) * context / 2 + chunks * forward(context / chunks) * other
    assert preserve == pytest.approx(discard)


def test_alone_a_context_is_kept_for_half_of_its_prefill() -> None:
    alone = world()
    alone.finish(alone.call("p"), prompt=3000, output=840)
    assert ttl(alone) == pytest.approx(0.122536 / 2)


def test_a_context_is_kept_longer_the_more_runs_beside_it() -> None:
    busy = world()
    other = busy.call("other", tokens=1000)
    call = busy.call("p")
    busy.feed(CallFirstToken(busy.now, other))
    busy.feed(CallProgressed(busy.now, other, 64))
    busy.finish(call, prompt=3000, output=830)
    assert ttl(busy) == pytest.approx(break_even(CODE, 3830, 10, 1064)), "ten chunks of 383, one token for the other"


def test_a_call_that_waits_inside_the_engine_is_not_delayed_by_chunks() -> None:
    queued = world()
    queued.call("other", tokens=1000)
    queued.finish(queued.call("p"), prompt=3000, output=840)
    assert ttl(queued) == pytest.approx(0.122536 / 2)


def test_the_pin_that_travels_with_the_call_is_replaced_when_it_ends() -> None:
    playing = world()
    playing.finish(playing.call("p"), prompt=3000, output=840)
    assert playing.dispatches[-1].ttl == 2.0
    assert playing.actions[-1] == Retain(key("p"), EngineId("a"), ttl(playing))
