"""Progress-TTL against checked numbers of its source, and what it does with programs."""

from __future__ import annotations

import math

import pytest

from scheduler.events import CallArrived, CallFirstToken, EngineObserved
from scheduler.log import replay
from scheduler.policy import Choice, PolicyConfig, PolicyError, Value
from scheduler.presets import ring
from scheduler.presets.progress import (
    RELEASED_DECODE,
    RELEASED_PREFILL,
    LogNormal,
    Served,
    Windows,
    decode_rate,
    fit,
)
from scheduler.presets.progress_books import Track
from scheduler.registry import build
from scheduler.types import CallId, EngineId
from tests.scheduler.world import MODEL, World, key, marks, spec

SMALL = {"a": spec(3000)}
TWO = {"a": spec(), "b": spec()}


def policy(**params: Value) -> PolicyConfig:
    rule = Choice("vllm_router", tuple(sorted(params.items())))
    return PolicyConfig("test", order=Choice("fcfs"), placement=rule, admission=rule, retention=Choice("none"))


def is_active(world: World, program: str) -> bool:
    return world.brain.programs[key(program)].member


def returned(world: World, program: str = "p", *, output: int = 50, final: bool = False) -> None:
    """Two calls of a program, with a gap of 0.5 s between them; restoring its context costs 0.98 s."""
    world.finish(world.call(program))
    world.later(0.5)
    call = world.call(program, tokens=1000, turns=2, final=final)
    world.finish(call, prompt=1000, output=output, cached=550)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "seconds"), [(0, 0.0), (1_000, 0.2357), (10_000, 1.992), (50_000, 25.77)])
def test_restoring_costs_what_the_released_coefficients_say(tokens: int, seconds: float) -> None:
    assert 1.85 * RELEASED_PREFILL.prefill(tokens) == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize(("batch", "context", "rate"), [(8, 190_000, 195.23), (9, 210_000, 203.44)])
def test_decoding_is_as_fast_as_the_released_coefficients_say(batch: int, context: int, rate: float) -> None:
    assert decode_rate(RELEASED_DECODE, batch, context) == pytest.approx(rate, abs=0.005)


@pytest.mark.parametrize(
    ("median", "deviation", "restore", "ttl", "gain"),
    [(0.3, 1.5, 2.0, 2.0, 1.212), (9.0, 1.0, 10.0, 0.0, 0.0), (9.0, 1.0, 30.0, 10.0, 8.926)],
)
def test_the_time_to_live_gains_most(median: float, deviation: float, restore: float, ttl: float, gain: float) -> None:
    gaps = LogNormal(math.log(median), deviation)
    assert gaps.best_ttl(restore, 10.0) == pytest.approx(ttl)
    assert gaps.gain(restore, ttl) == pytest.approx(gain, abs=0.0005)


def test_no_time_between_gains_more_than_the_best_of_the_candidates() -> None:
    gaps = LogNormal(math.log(0.5), 0.6)
    best = gaps.gain(8.0, gaps.best_ttl(8.0, 10.0))
    assert best == pytest.approx(max(gaps.gain(8.0, step / 100) for step in range(801)), rel=0.01)


def test_a_fit_is_of_the_logarithms_and_leaves_out_gaps_of_no_length() -> None:
    fitted = fit([0.0, 1.0, math.e**2])
    assert fitted is not None
    assert fitted == pytest.approx((1.0, 1.0))
    assert fit([0.0]) is None


def test_nothing_is_granted_or_kept_until_the_windows_are_full() -> None:
    windows = Windows(2)
    call = Served(1000, 400, 50, 2.0, 1.0, 300, 10.0)
    windows.add_gap(0.5)
    windows.add_call(call)
    assert (windows.rounds_ahead(14), windows.ttl(2.0, 10.0)) == (0, 0.0)
    windows.add_gap(0.5)
    windows.add_call(call._replace(growth=0, finished=12.0))
    assert windows.ttl(2.0, 10.0) == pytest.approx(2.0)
    assert windows.rounds_ahead(14) == 1, "no time-to-live has run out yet"
    assert (windows.means.growth, windows.means.rate) == (300.0, 0.5)


@pytest.mark.parametrize(("rounds", "granted"), [((0, 0), 1), ((1, 2), 3), ((20, 20), 14)])
def test_twice_the_rounds_until_a_time_to_live_ran_out_are_granted(rounds: tuple[int, int], granted: int) -> None:
    windows = Windows(2)
    for number in range(2):
        windows.add_call(Served(1000, 400, 50, 2.0, 1.0, 300, float(number)))
        windows.add_pause(rounds[number])
    assert windows.rounds_ahead(14) == granted


def test_a_context_grows_at_once_and_shrinks_when_it_was_smaller_twice() -> None:
    track = Track()
    sizes = []
    for tokens in (100, 80, 120, 90, 85, 70):
        track.observe(tokens)
        sizes.append(track.context)
    assert sizes == [100, 100, 120, 120, 85, 85]


def test_few_keys_move_when_a_name_leaves_the_ring() -> None:
    names = ("a", "b", "c", "d")
    before = {str(number): ring.owner(str(number), names) for number in range(400)}
    assert all(list(before.values()).count(name) > 50 for name in names)
    moved = {owner for number, owner in before.items() if ring.owner(number, names[:3]) != owner}
    assert moved == {"d"}


# --- active and paused ------------------------------------------------------------------------------------------------


def test_a_program_is_paused_at_once_while_there_are_too_few_gaps_to_tell() -> None:
    world = World(policy())
    returned(world)
    assert not is_active(world, "p")
    assert world.occupied() == 0


def test_a_program_is_active_for_the_fitted_time_and_paused_by_the_next_tick() -> None:
    world = World(policy(window=1))
    returned(world)
    world.later(1.4)
    assert is_active(world, "p"), "its time ran out at 1.48 s, and nobody looked since"
    world.later(0.2)
    assert not is_active(world, "p")


def test_a_call_that_comes_before_anybody_looks_is_in_time() -> None:
    world = World(policy(window=1, max_programs=1))
    returned(world)
    waiting = world.call("q")
    world.later(1.3)
    assert world.call("p", tokens=1500, turns=3) in world.running
    assert waiting in world.waiting


def test_a_call_that_comes_after_its_program_was_paused_waits_behind_who_was_let_in() -> None:
    world = World(policy(window=1, max_programs=1))
    returned(world)
    waiting = world.call("q")
    world.later(1.6)
    assert world.call("p", tokens=1500, turns=3) in world.waiting
    assert waiting in world.running


def test_a_failed_call_pauses_its_program() -> None:
    world = World(policy(window=1))
    returned(world)
    world.fail(world.call("p", tokens=1500, turns=3))
    assert not is_active(world, "p")


@pytest.mark.parametrize(("max_rounds", "yields"), [(1, True), (2, False)])
def test_a_program_with_its_rounds_behind_it_gives_way_to_one_that_waits(max_rounds: int, yields: bool) -> None:
    world = World(policy(window=1, max_programs=1, max_rounds=max_rounds))
    world.finish(world.call("p"))
    world.later(0.5)
    call = world.call("p", tokens=1000, turns=2)
    waiting = world.call("q")
    world.finish(call, prompt=1000, cached=550)
    assert (waiting in world.running) == yields
    assert is_active(world, "p") != yields


# --- admission --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sized", "enters"), [(True, False), (False, True)])
def test_memory_counts_only_if_its_size_is_known(sized: bool, enters: bool) -> None:
    world = World(policy(sized=sized), SMALL)
    world.call("p", tokens=1500)
    assert (world.call("q", tokens=1500) in world.running) == enters


def test_a_program_that_fits_passes_one_that_does_not() -> None:
    world = World(policy(), SMALL)
    world.call("p", tokens=1500)
    large, little = world.call("q", tokens=1500), world.call("r", tokens=500)
    assert large in world.waiting
    assert little in world.running


@pytest.mark.parametrize(("recent_first", "order"), [(True, "qpn"), (False, "npq")])
def test_who_was_answered_last_goes_first_and_who_never_was_last(recent_first: bool, order: str) -> None:
    world = World(policy(max_programs=1, recent_first=recent_first))
    for program in ("p", "q"):
        world.finish(world.call(program))
        world.later(1.0)
    call = world.call("busy")
    for program in ("n", "p", "q"):
        world.call(program, tokens=1000, turns=2)
        world.later(0.1)
    served = ""
    for _ in order:
        world.finish(call, prompt=1000)
        (call,) = world.running
        served += call[0]
    assert served == order


def test_a_call_goes_at_its_deadline_whether_it_fits_or_not() -> None:
    world = World(policy(), SMALL)
    world.call("p", tokens=2500)
    waiting = world.call("q", tokens=2500)
    world.later(299.5)
    assert waiting in world.waiting
    world.later(1.0)
    assert waiting in world.running


def test_a_deadline_is_three_times_what_the_rounds_before_should_take() -> None:
    world = World(policy(window=2, max_programs=1))
    world.finish(world.call("p"))
    world.later(10.0)
    world.finish(world.call("q"))
    world.call("busy")
    waiting = world.call("n")
    world.later(59.5)
    assert waiting in world.waiting, "two rounds are granted to the one that runs, at a tenth of a call a second: 60 s"
    world.later(2.0)
    assert waiting in world.running


def test_nobody_is_let_in_while_calls_wait_inside_the_engine() -> None:
    world = World(policy())
    busy = world.call("p")
    world.later(0.5)
    world.feed(EngineObserved(world.now, EngineId("a"), world.now, 1, 1, 500))
    waiting = world.call("q")
    assert waiting in world.waiting
    world.feed(CallFirstToken(world.now, busy))
    world.later(1.0)
    assert waiting in world.running, "every call that may have waited then has begun"


def test_what_an_engine_says_counts_while_it_is_new() -> None:
    world = World(policy())
    world.call("p")
    world.later(0.5)
    world.feed(EngineObserved(world.now, EngineId("a"), world.now, 1, 0, 8000))
    waiting = world.call("q")
    world.later(2.9)
    assert waiting in world.waiting
    world.later(1.0)
    assert waiting in world.running


@pytest.mark.parametrize(("tokens", "enters"), [(100, True), (900, False)])
def test_the_reserve_is_waived_for_a_larger_batch_that_costs_little(tokens: int, enters: bool) -> None:
    """q is granted two rounds of 500 tokens more, as n is: neither newcomer leaves room for all of that."""
    world = World(policy(window=1), SMALL)
    world.call("q", tokens=1000)
    returned(world, final=True)
    assert (world.call("n", tokens=tokens) in world.running) == enters


def test_too_much_memory_in_use_pauses_the_oldest_segment_after_its_call() -> None:
    world = World(policy(window=1), SMALL)
    call = world.call("q", tokens=1000)
    returned(world, output=1000)
    assert is_active(world, "p")
    world.later(0.1)
    world.finish(call, prompt=1000)
    assert not is_active(world, "q")
    assert is_active(world, "p")


# --- placement --------------------------------------------------------------------------------------------------------


def test_a_new_program_goes_where_its_prefix_is_and_a_stranger_where_there_is_room() -> None:
    world = World(policy(), TWO)
    world.call("p")
    name = CallId("r#1")
    world.waiting.add(name)
    arrived = CallArrived(world.now, name, key("r"), MODEL, 2000, marks("p", 1, 2000), 500, expected_output=50)
    world.feed(arrived)
    world.call("s")
    assert [dispatch.engine for dispatch in world.dispatches] == ["a", "a", "b"]


def test_a_program_comes_back_to_the_engine_it_is_bound_to() -> None:
    world = World(policy(binding="round_robin"), TWO)
    world.call("p")
    world.finish(world.call("q", final=True))
    world.finish(world.call("r"))
    world.call("r", tokens=1000, turns=2)
    assert [dispatch.engine for dispatch in world.dispatches] == ["a", "b", "a", "a"]


def test_a_program_whose_engine_is_lost_asks_for_admission_at_another() -> None:
    world = World(policy(binding="round_robin", max_programs=1), TWO)
    world.finish(world.call("p"))
    world.call("q")
    world.down("a")
    again = world.call("p", tokens=1000, turns=2)
    assert again in world.waiting
    world.end("q")
    world.finish(next(iter(world.running)))
    assert world.running == {again: EngineId("b")}


@pytest.mark.parametrize("binding", ["least_programs", "most_free"])
def test_programs_are_spread_over_engines(binding: str) -> None:
    world = World(policy(binding=binding), TWO)
    for program in ("p", "q", "r", "s"):
        world.call(program)
    assert [dispatch.engine for dispatch in world.dispatches] == ["a", "b", "a", "b"]


def test_a_hash_binds_a_program_to_the_same_engine_in_every_run() -> None:
    engines = []
    for reverse in (False, True):
        world = World(policy(binding="consistent_hash"), TWO)
        names = [f"p{number}" for number in range(12)]
        calls = {world.call(name): name for name in (reversed(names) if reverse else names)}
        engines.append({calls[call]: engine for call, engine in world.running.items()})
    assert engines[0] == engines[1]
    assert set(engines[0].values()) == {"a", "b"}


@pytest.mark.parametrize(("params", "message"), [({"binding": "sticki"}, "unknown binding"), ({"window": 0}, "window")])
def test_a_parameter_that_makes_no_sense_is_an_error(params: dict[str, Value], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        build(policy(**params))


def test_a_log_replays_to_the_same_actions() -> None:
    world = World(policy(window=2), TWO)
    for turn in range(1, 5):
        calls = [world.call(program, tokens=400 * turn, turns=turn) for program in ("p", "q", "r")]
        world.later(0.5)
        for call in calls:
            if call in world.running:
                world.finish(call, prompt=400 * turn, cached=400 * (turn - 1))
        world.later(0.7)
    assert len(world.dispatches) >= 6
    assert replay(world.log).first_difference is None
