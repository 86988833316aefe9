from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.actions import Prewarm, Retain
from scheduler.departures import Leaver, by_least_loss
from scheduler.events import EngineDraining, HintGiven, Prewarmed, Wakeup
from scheduler.mover import PATIENCE
from scheduler.types import EngineId, ProgramKey
from tests.scheduler.world import MODEL, World, key, spec

TWO = {"a": spec(), "b": spec()}


def leaver(name: str, takes: float, returns_in: float) -> Leaver:
    return Leaver(key(name), takes, returns_in)


def late(order: list[Leaver]) -> int:
    """How many return before their contexts are there."""
    count, now = 0, 0.0
    for each in order:
        now += each.takes
        count += now > each.returns_in
    return count


def names(order: list[Leaver]) -> list[str]:
    return [each.program.program for each in order]


def test_those_who_return_first_move_first() -> None:
    assert names(by_least_loss([leaver("p", 1, 9), leaver("q", 1, 3), leaver("r", 1, 6)])) == ["q", "r", "p"]


def test_one_large_context_that_would_make_others_late_is_put_off() -> None:
    order = by_least_loss([leaver("large", 5, 5), leaver("p", 1, 6), leaver("q", 2, 7)])
    assert names(order) == ["p", "q", "large"]


def test_one_that_is_late_anyhow_costs_the_others_nothing() -> None:
    assert names(by_least_loss([leaver("back", 3, 1), leaver("p", 2, 2)])) == ["p", "back"]


TIMES = st.integers(1, 9).map(float)


@given(st.lists(st.tuples(TIMES, TIMES), max_size=5))
def test_no_order_has_fewer_late_ones(jobs: list[tuple[float, float]]) -> None:
    leavers = [leaver(f"p{index}", takes, due) for index, (takes, due) in enumerate(jobs)]
    found = by_least_loss(leavers)
    assert sorted(names(found)) == sorted(names(leavers)), "each moves once"
    assert late(found) == min(late(list(order)) for order in permutations(leavers))


def leaving(world: World, engine: str) -> list[Prewarm]:
    actions = world.feed(EngineDraining(world.now, EngineId(engine), leaving=True))
    return [action for action in actions if isinstance(action, Prewarm)]


def resting(world: World, *programs: str) -> None:
    """Programs that rest in a gap on engine a, and go on with their context."""
    for program in programs:
        for turn in (1, 2):
            call = world.call(program, tokens=300 * turn, turns=turn, workflow="w")
            assert world.running[call] == "a"
            world.finish(call, prompt=300 * turn)
            world.later(0.1)


def gaps(world: World, **expected: float) -> None:
    for program, seconds in expected.items():
        world.feed(HintGiven(world.now, key(program), expected_gap=seconds))


@pytest.fixture
def world() -> World:
    made = World(engines={"a": spec()})
    resting(made, "p", "q", "r")
    gaps(made, p=20.0, q=9.0, r=15.0)
    made.engines["b"] = spec()
    made.up("b")
    return made


def prewarmed(world: World, program: ProgramKey, *, done: bool = True) -> list[Prewarm]:
    actions = world.feed(Prewarmed(world.now, program, EngineId("b"), done))
    return [action for action in actions if isinstance(action, Prewarm)]


def test_programs_of_an_engine_that_leaves_move_one_after_another(world: World) -> None:
    moves = leaving(world, "a")
    order = []
    while moves:
        (move,) = moves
        order.append(move.program.program)
        assert world.brain.empties(EngineId("a")), "it has programs still"
        moves = prewarmed(world, move.program)
    assert order == ["q", "r", "p"]
    assert not world.brain.empties(EngineId("a"))
    assert set(world.brain.engines[EngineId("b")].members) == {key("p"), key("q"), key("r")}


def test_a_program_that_has_moved_keeps_its_pin_there(world: World) -> None:
    (move,) = leaving(world, "a")
    prewarmed(world, move.program)
    pins = [each for each in world.actions if isinstance(each, Retain) and each.engine == "b"]
    assert [pin.program for pin in pins] == [move.program]
    assert 0 < pins[0].ttl <= 30


def test_its_next_call_goes_where_it_has_moved(world: World) -> None:
    (move,) = leaving(world, "a")
    prewarmed(world, move.program)
    call = world.call(move.program.program, tokens=900, turns=3, workflow="w")
    assert world.running[call] == "b"
    assert world.brain.calls[call].uncached < 900, "its context is there"


def test_a_move_that_failed_leaves_nothing_in_the_account(world: World) -> None:
    (move,) = leaving(world, "a")
    prewarmed(world, move.program, done=False)
    assert move.program not in world.brain.engines[EngineId("b")].members
    assert world.brain.programs[move.program].engine is None


def test_a_move_of_which_nothing_is_heard_does_not_hold_the_others_up(world: World) -> None:
    (move,) = leaving(world, "a")
    world.later(PATIENCE + 1)
    begun = [each.program for each in world.actions if isinstance(each, Prewarm)]
    assert begun[0] == move.program
    assert not world.brain.empties(EngineId("a"))


def test_an_engine_that_only_pauses_keeps_its_programs(world: World) -> None:
    assert not [each for each in world.feed(EngineDraining(world.now, EngineId("a"))) if isinstance(each, Prewarm)]
    assert len(world.brain.engines[EngineId("a")].members) == 3


def test_a_call_that_ends_on_an_engine_that_leaves_has_its_program_follow(world: World) -> None:
    call = world.call("p", tokens=900, turns=3, workflow="w")
    assert world.running[call] == "a"
    moves = leaving(world, "a")
    while moves:
        moves = prewarmed(world, moves[0].program)
    assert world.brain.empties(EngineId("a")), "a call runs there"
    world.finish(call, prompt=900)
    assert [each.program for each in world.actions if isinstance(each, Prewarm)][-1] == key("p")


def test_nothing_moves_where_there_is_no_room() -> None:
    world = World(engines={"a": spec()})
    resting(world, "p")
    world.engines["b"] = spec(256)
    world.up("b")
    assert leaving(world, "a") == []
    assert not world.brain.empties(EngineId("a"))


def test_a_program_whose_agent_said_when_it_is_back_is_awaited_then() -> None:
    world = World()
    world.finish(world.call("p", workflow="w"))
    world.feed(HintGiven(world.now, key("p"), expected_gap=40.0))
    world.later(10.0)
    world.feed(Wakeup(world.now))
    (found,) = world.brain.working_sets([MODEL]).values()
    assert (found.in_gap, found.returns_in) == (550, 30.0)


def test_of_two_that_are_awaited_the_first_counts_and_one_that_runs_is_not_awaited() -> None:
    world = World()
    for name, gap in (("p", 40.0), ("q", 20.0), ("r", 5.0)):
        world.finish(world.call(name, workflow="w"))
        world.feed(HintGiven(world.now, key(name), expected_gap=gap))
    world.call("r", turns=2, workflow="w")
    assert world.brain.working_sets([MODEL])[MODEL].returns_in == 20.0


def test_a_program_that_has_been_silent_for_longer_than_gaps_last_is_awaited_no_more() -> None:
    world = World()
    for _ in range(40):
        world.finish(world.call("p", workflow="w"))
        world.later(2.0)
    world.finish(world.call("p", workflow="w"))
    assert world.brain.working_sets([MODEL])[MODEL].returns_in is not None
    world.later(500.0)
    world.feed(Wakeup(world.now))
    found = world.brain.working_sets([MODEL])[MODEL]
    assert (found.in_gap, found.returns_in) == (550, None)
