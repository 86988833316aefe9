"""The retention of Continuum's released code."""

from __future__ import annotations

import pytest

from scheduler.actions import Release, Retain
from scheduler.policy import Choice, PolicyConfig, Value
from scheduler.types import EngineId
from tests.scheduler.world import World, key


def continuum_code(*params: tuple[str, Value]) -> PolicyConfig:
    return PolicyConfig(
        "test",
        order=Choice("program_fcfs", (("pinned_first", True),)),
        placement=Choice("sticky"),
        admission=Choice("unlimited"),
        retention=Choice("continuum_code", params),
    )


def after_gaps(*gaps: float, tool: str = "bash") -> World:
    """A world in which one program has run the tool for these times, and has just called it again."""
    world = World(continuum_code())
    for gap in (*gaps, 0.0):
        world.finish(world.call("p"), tool=tool)
        world.later(gap)
    return world


def pinned(world: World, program: str) -> float:
    return max(0.0, world.brain.programs[key(program)].pin_until - world.now)


def test_a_tool_that_was_never_seen_gets_its_pin() -> None:
    world = after_gaps()
    assert pinned(world, "p") == 2.0
    assert world.dispatches[-1].ttl == 2.0
    assert not any(isinstance(action, Retain) for action in world.actions), "it travelled with the call"


@pytest.mark.parametrize(
    ("gaps", "ttl"), [((1.0,), 2.0), ((3.0,), 0.0), ((1.0, 3.0), 2.0), ((1.0, 3.5), 0.0), ((3.0, 0.5), 2.0)]
)
def test_a_tool_is_waited_for_if_its_gaps_last_two_seconds_on_average_or_less(
    gaps: tuple[float, ...], ttl: float
) -> None:
    assert pinned(after_gaps(*gaps), "p") == ttl


def test_a_slow_tool_takes_the_pin_back() -> None:
    assert after_gaps(30.0).actions[-1] == Release(key("p"), EngineId("a"))


def test_nothing_is_pinned_without_a_tool() -> None:
    assert pinned(after_gaps(tool=""), "p") == 0.0


def test_each_tool_has_a_mean_of_its_own() -> None:
    world = after_gaps(30.0)
    for program, tool, ttl in (("q", "bash", 0.0), ("r", "edit", 2.0)):
        world.finish(world.call(program), tool=tool)
        assert pinned(world, program) == ttl


def test_the_mean_never_forgets() -> None:
    world = after_gaps(500.0, *[0.5] * 100)
    assert pinned(world, "p") == 0.0, "550 s over 101 gaps"


def test_both_constants_can_be_set() -> None:
    world = World(continuum_code(("longest_mean", 10.0), ("ttl", 7.0)))
    world.finish(world.call("p"))
    world.later(9.0)
    world.finish(world.call("p"))
    assert pinned(world, "p") == 7.0
