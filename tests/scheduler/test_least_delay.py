"""Placement by what a program costs all programs together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.account import Footprint
from scheduler.placement.least_delay import delay
from scheduler.policy import Choice
from scheduler.state import EngineState
from scheduler.types import StepCost
from scheduler.view import View
from tests.scheduler.parts import a_call, a_program, a_view, an_engine
from tests.scheduler.world import STEADY, World, key, spec

PREFILL = 0.01 + 0.1 + 0.01 + 0.09
"""Of a prompt of 1000 tokens, and later of the 900 that a program grows by beside the 200 it generates."""
COST = StepCost(constant=0.01, prefill_token=1e-4, decode_context=1e-6)


def crowded(members: int, held: int) -> tuple[View, EngineState]:
    engine = an_engine("a", replace(spec(100_000), cost=COST))
    for number in range(members):
        program = a_program(f"m{number}")
        engine.members[program.key] = program
        engine.account.hold(program.key, Footprint((), held // members))
    return a_view(engine), engine


def test_an_empty_engine_costs_what_the_program_takes() -> None:
    view, engine = crowded(0, 0)
    call = a_call(a_program("p"), prompt=1000, output=100)
    assert delay(view, call, engine, 300) == pytest.approx(PREFILL + 300 * (0.01 + 1100e-6))


def test_on_a_crowded_one_the_others_count_too() -> None:
    view, engine = crowded(4, 40_000)
    call = a_call(a_program("p"), prompt=1000, output=100)
    own = PREFILL + 300 * (0.01 + 41_100e-6)
    others = 4 * PREFILL + 300 * 4 * 1100e-6
    assert delay(view, call, engine, 300) == pytest.approx(own + others)


def two(slower: float) -> World:
    policy = replace(STEADY, placement=Choice("least_delay"), admission=Choice("unlimited"))
    slow = replace(COST, constant=slower * 0.01, prefill_token=slower * 1e-4, decode_context=slower * 1e-6)
    return World(policy, {"slow": replace(spec(100_000), cost=slow), "fast": replace(spec(100_000), cost=COST)})


def test_the_fast_engine_fills_until_the_slow_one_costs_no_more() -> None:
    world = two(3.0)
    for number in range(12):
        world.call(f"p{number}")
    engines = [str(dispatch.engine) for dispatch in world.dispatches]
    assert engines[:2] == ["fast", "fast"]
    assert engines.count("slow") >= 1, "each that joins makes it slower for all"
    assert engines.count("slow") <= 4


def test_equal_engines_share_equally() -> None:
    world = two(1.0)
    for number in range(10):
        world.call(f"p{number}")
    assert [str(dispatch.engine) for dispatch in world.dispatches].count("slow") == 5


def test_a_member_stays_where_its_context_is() -> None:
    world = two(3.0)
    for number in range(30):
        world.call(f"busy{number}")
    stuck = next(dispatch.call for dispatch in world.dispatches if dispatch.engine == "slow")
    program = world.brain.calls[stuck].program
    for call in list(world.running):
        world.finish(call)
    world.call(program.key.program, tokens=1000, turns=2)
    assert world.dispatches[-1].engine == "slow"
    assert world.brain.programs[key(program.key.program)].member
