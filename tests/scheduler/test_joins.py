"""Programs that fan out and join: what it is worth that their agents say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, Event
from scheduler.policy import PRESETS
from scheduler.types import CallId
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel
from simulator.ledger import Detail
from simulator.result import Simulation
from simulator.world import World as Simulated
from tests.scheduler.world import World, key, spec
from tests.virtual import PROFILE, RULES
from workloads.program import Call, Edge, Program, SharedPrefix

ENGINE = EngineConfig(num_blocks=192, block_size=32, max_model_len=4096)


class Told:
    """A brain whose clients say of their branches that a join is ahead, or do not."""

    def __init__(self, *, join: bool) -> None:
        self._brain = Brain(PRESETS["agentserve"])
        self._join = join

    def handle(self, event: Event) -> Decision:
        if isinstance(event, CallArrived) and event.stage == "branch":
            event = replace(event, join=self._join)
        return self._brain.handle(event)


def fan_outs() -> Iterator[Program]:
    """Two questions on one text, a tool for 2 s, and a join on the same text; beside them calls of single questions."""
    for number in range(40):
        text = (SharedPrefix(f"text{number}", 2000),)
        branches = [Call(name, 60, 30, prefix=text, stage="branch") for name in ("left", "right")]
        ended = tuple(Edge(branch.id, 2.0, "search") for branch in branches)
        join = Call("join", 80, 30, ended, prefix=text, stage="join")
        yield Program(f"fan{number}", 3.0 * number, (*branches, join), workflow="fan")
        yield Program(f"single{number}", 3.0 * number + 1.5, (Call("ask", 1500, 60),), workflow="single")


def run(*, join: bool) -> Simulation:
    engine = EngineModel("e", "cpu", ENGINE, PROFILE, plugin=True)
    world = Simulated(tuple(fan_outs()), (engine,), Told(join=join), rules=RULES, detail=Detail())
    world.run()
    return world.ledger.simulation("", 0)


def cached_share_of_joins(simulation: Simulation) -> float:
    joins = [call for call in simulation.calls if call.call == "join"]
    return sum(call.cached for call in joins) / sum(call.prompt for call in joins)


def mean_completion(simulation: Simulation) -> float:
    return fmean(program.completion for program in simulation.programs)


def test_a_join_that_was_announced_finds_the_text_that_it_shares_cached() -> None:
    """Joins never extend the whole of a branch's prompt, so that nothing is kept for them by what is learned."""
    silent, told = run(join=False), run(join=True)
    assert cached_share_of_joins(silent) < 0.3
    assert cached_share_of_joins(told) > 0.9
    assert mean_completion(told) < mean_completion(silent), "those who wait for the memory lose less than joins gain"


def arrive(world: World, program: str, **said: Any) -> CallId:
    arrival = replace(world.arrival(program), **said)
    world.waiting.add(arrival.call)
    world.feed(arrival)
    return arrival.call


def test_a_join_is_ahead_until_a_call_comes_alone_that_does_not_say_so() -> None:
    world = World()
    left, right = arrive(world, "p", join=True), arrive(world, "p")
    program = world.brain.programs[key("p")]
    assert program.join_ahead, "the other branch takes nothing back"
    world.finish(left)
    world.finish(right)
    assert program.join_ahead
    arrive(world, "p")
    assert not program.join_ahead


def test_a_program_enters_where_the_answers_of_calls_sent_together_fit() -> None:
    world = World(engines={"a": replace(spec(2000), max_num_seqs=8)})
    arrive(world, "first")
    arrive(world, "alone")
    assert len(world.running) == 2
    together = arrive(world, "together", siblings=5)
    assert together in world.waiting, "550 tokens fit, but not five times 50 more"
    world.end("alone")
    world.finish(next(call for call in world.running if call.startswith("alone")))
    assert together in world.running


def test_calls_sent_together_count_as_far_as_an_engine_runs_them_at_once() -> None:
    world = World(engines={"a": spec(100_000)})
    arrive(world, "first")
    many = arrive(world, "many", siblings=9_999)
    assert many in world.running
