"""The world in virtual time: programs complete, times are what they must be, and the same happens every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.events import (
    CallArrived,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    EngineObserved,
    HintGiven,
    PinOutcome,
    PinReported,
)
from scheduler.policy import PRESETS, Choice
from simulator.client import ClientRules
from simulator.engine import EngineConfig
from simulator.gateway import SimulationError
from simulator.ledger import Detail
from simulator.network import Constant, Network
from simulator.station import SCRAPE
from simulator.world import simulate
from tests.simulator.worlds import Recorded, chain, fleet, small
from workloads.distributions import Uniform
from workloads.program import Call, Edge, Program, Said, SharedPrefix, WorkloadError

VLLM = PRESETS["vllm"]


@st.composite
def programs(draw: st.DrawFn) -> list[Program]:
    """Programs whose calls wait for any earlier ones, with shared prefixes and with children."""
    made: list[Program] = []
    for number in range(draw(st.integers(1, 6))):
        nested = draw(st.booleans())
        parent = made[-1] if made and nested else None
        calls: list[Call] = []
        for turn in range(draw(st.integers(1, 5))):
            after = draw(st.lists(st.sampled_from(calls), unique=True)) if calls else []
            edges = [Edge(call.id, draw(st.floats(0, 3)), "bash") for call in after]
            if parent is not None and turn == 0:
                edges.append(Edge(parent.calls[0].id, 0.5, program=parent.id))
            context = draw(st.sampled_from([None, *(call.id for call in after)]))
            shared = () if context or draw(st.booleans()) else (SharedPrefix("system", draw(st.integers(1, 300))),)
            calls.append(
                Call(
                    str(turn), draw(st.integers(1, 200)), draw(st.integers(1, 90)), tuple(edges), context, prefix=shared
                )
            )
        name = None if parent is None else (parent.parent or parent.id)
        arrival = 0.7 * number if parent is None else parent.arrival_s
        made.append(Program(f"p{number}", arrival, tuple(calls), parent=name))
    roots = [program for program in made if program.parent is None]
    return [one for root in roots for one in (root, *(child for child in made if child.parent == root.id))]


@settings(max_examples=40)
@given(programs(), st.sampled_from(sorted(PRESETS)), st.integers(1, 3))
def test_every_program_completes_and_the_books_are_empty_afterwards(
    workload: list[Program], preset: str, engines: int
) -> None:
    run = Recorded(workload, engines, preset)
    simulation = run.world.ledger.simulation(preset, 0)
    assert {done.program for done in simulation.programs} == {program.id for program in workload}
    assert sum(done.calls for done in simulation.programs) == sum(len(program.calls) for program in workload)
    assert sum(done.output for done in simulation.programs) == sum(
        call.output_tokens for program in workload for call in program.calls
    )
    run.brain.check_integrity()
    assert not run.brain.programs, "programs were announced to end and are still known"
    for engine in run.brain.engines.values():
        assert engine.account.occupied == 0, f"{engine.id} still holds something"
    for station in run.world.gateway.stations.values():
        station.engine.check_integrity()
        assert station.engine.free_blocks == station.model.config.num_blocks, f"{station.id} still uses blocks"


def test_times_of_a_call_are_ordered_and_calls_follow_their_gaps() -> None:
    simulation = simulate(small(), fleet(2), PRESETS["agentserve"], detail=Detail())
    ends: dict[tuple[str, str], float] = {}
    for call in simulation.calls:
        assert call.arrived <= call.dispatched < call.first_token <= call.finished, call
        assert 0 <= call.cached < call.prompt, call
        ends[call.program, call.call] = call.finished
    gaps = {(program.id, call.id): edge for program in small() for call in program.calls for edge in call.after}
    for call in simulation.calls:
        if call.turn:
            edge = gaps[call.program, call.call]
            assert call.arrived == pytest.approx(ends[call.program, edge.call] + edge.gap_s)


def test_the_brain_hears_what_the_gateway_would_tell_it() -> None:
    program = Program("p", 0.0, (Call("0", 50, 200), Call("1", 10, 5, (Edge("0", 1.0, "bash"),), "0")))
    run = Recorded([program])
    arrived, sent, first, *progress, finished = run.of("p:0")
    assert isinstance(arrived, CallArrived)
    assert (arrived.max_output, arrived.final, arrived.streams) == (200, False, True)
    assert (type(sent), type(first), sent.at) == (CallSent, CallFirstToken, arrived.at)
    assert isinstance(finished, CallFinished)
    assert (finished.tools, finished.usage.output if finished.usage else 0) == (("bash",), 200)
    assert [event.output for event in progress if isinstance(event, CallProgressed)] == [129], "128 are expected"
    assert len(progress) == 1
    last = run.of("p:1")[0]
    assert isinstance(last, CallArrived)
    assert last.final
    assert last.prefix[: len(arrived.prefix)] == arrived.prefix, "the second prompt does not extend the first"
    seconds = [event.at for event in run.events if isinstance(event, EngineObserved)]
    assert seconds
    assert all(later - sooner >= SCRAPE for sooner, later in pairwise(seconds))
    seen = [output for event in run.events if isinstance(event, EngineObserved) for _, output in event.outputs]
    assert any(129 < output < 200 for output in seen), "how far the others have come is told with what an engine shows"


def test_the_brain_hears_what_became_of_pins() -> None:
    run = Recorded(small())
    heard = Counter(event.outcome for event in run.events if isinstance(event, PinReported))
    pins = run.world.ledger.simulation("", 0).pins
    assert heard[PinOutcome.APPLIED]
    assert all(pins[outcome] - count in (0, 1) for outcome, count in heard.items()), "more than the last is unheard"


def test_programs_are_of_the_tenants_whose_names_their_ids_begin_with() -> None:
    rules = ClientRules(tenants=frozenset({"a"}))
    assert rules.key("a/run/7") == ("a", "run/7")
    assert rules.key("b/run") == ("default", "b/run")
    assert rules.key("a") == ("default", "a")


def test_a_child_starts_after_its_parents_call_and_the_parent_waits_for_it() -> None:
    parent = Program("p", 0.0, (Call("0", 100, 10), Call("1", 10, 10, (Edge("0"), Edge("0", program="c")), "0")))
    child = Program("c", 0.0, (Call("0", 50, 10, (Edge("0", 2.0, program="p"),)),), parent="p")
    simulation = simulate([parent, child], fleet(), VLLM, detail=Detail())
    times = {(call.program, call.call): call for call in simulation.calls}
    assert times["c", "0"].arrived == pytest.approx(times["p", "0"].finished + 2.0)
    assert times["p", "1"].arrived == pytest.approx(times["c", "0"].finished)


def test_a_child_may_arrive_after_its_parent_has_ended_and_after_the_next_program() -> None:
    child = Program("c", 500.0, (Call("0", 50, 10, (Edge("0", 2.0, program="p"),)),), parent="p")
    simulation = simulate([chain("p"), child, chain("q", arrival=1.0)], fleet(), VLLM)
    assert [done.program for done in simulation.programs] == ["p", "q", "c"]
    assert simulation.programs[-1].finished > 500


def test_delays_of_the_network_add_up() -> None:
    near = simulate([chain("p", 2)], fleet(), VLLM, detail=Detail())
    network = Network(Constant(0.1), Constant(0.05))
    far = simulate([chain("p", 2)], fleet(), VLLM, network=network, detail=Detail())
    assert far.programs[0].completion == pytest.approx(near.programs[0].completion + 2 * (2 * 0.1 + 2 * 0.05))
    assert far.calls[0].arrived == pytest.approx(0.1)
    assert far.calls[0].ttft == pytest.approx(near.calls[0].ttft + 2 * 0.05)


def test_an_engines_overhead_delays_each_of_its_requests() -> None:
    plain, slow = fleet(), tuple(replace(engine, request_overhead=0.2) for engine in fleet())
    fast, late = (simulate([chain("p", 3)], engines, VLLM) for engines in (plain, slow))
    assert late.programs[0].completion == pytest.approx(fast.programs[0].completion + 3 * 0.2)


def test_programs_are_read_when_they_arrive() -> None:
    read: list[str] = []

    def stream() -> Iterator[Program]:
        for number in range(50):
            read.append(f"p{number}")
            yield chain(f"p{number}", arrival=60.0 * number)

    seen = []
    simulate(stream(), fleet(), VLLM, on_program=lambda done: seen.append((done.program, len(read))))
    assert seen == [(f"p{number}", min(number + 2, 50)) for number in range(50)]


def test_programs_that_are_not_announced_to_end_end_by_silence() -> None:
    rules = ClientRules(announce_end=False)
    quiet = simulate([chain("p"), chain("q", arrival=2000.0)], fleet(), PRESETS["agentserve"], rules=rules)
    assert len(quiet.programs) == 2


def test_what_a_trace_tells_of_a_client_goes_before_the_rules() -> None:
    told = chain("p", 3, arrival=3.0)
    said = Said(), Said(max_output=500, deadline_s=60.0), Said(final=True)
    calls = tuple(replace(call, said=each) for call, each in zip(told.calls, said, strict=True))
    run = Recorded([replace(told, calls=calls), chain("q", 1, arrival=100.0)])
    first, second, third, other = (event for event in run.events if isinstance(event, CallArrived))
    assert (first.max_output, first.deadline, first.final) == (None, None, False)
    assert (second.max_output, second.deadline) == (500, second.at + 60.0)
    assert (third.max_output, third.final) == (None, True)
    assert (other.max_output, other.final) == (20, True), "where nothing is told, the rules hold"


def test_calls_of_a_program_with_an_objective_say_what_is_left_of_it() -> None:
    late, early = replace(chain("late", 2, arrival=10.0), objective_s=1.0), chain("early", 2)
    world = Recorded([early, late])
    arrived = [event for event in world.events if isinstance(event, CallArrived)]
    assert [event.deadline for event in arrived if event.program.program == "early"] == [None, None]
    first, second = (event for event in arrived if event.program.program == "late")
    assert first.deadline == 11.0
    assert second.at > 11.0
    assert second.deadline == pytest.approx(second.at + 0.001), "a late program asks for its answer at once"
    in_time = {program.program: program.in_time for program in world.world.ledger.simulation("", 0).programs}
    assert in_time == {"early": None, "late": False}


def test_clients_that_foretell_say_what_nobody_can_know() -> None:
    run = Recorded([chain("p", 3, gap=2.5)], rules=ClientRules(foretell=True))
    hints = [(event.remaining_calls, event.expected_gap) for event in run.events if isinstance(event, HintGiven)]
    assert hints == [(3, None), (None, 2.5), (2, None), (None, 2.5), (1, None)]
    assert all(event.expected_output == 20 for event in run.events if isinstance(event, CallArrived))


def test_a_call_that_can_never_fit_is_named_before_anything_runs() -> None:
    ended: list[str] = []
    engines = (*fleet(), replace(fleet()[0], name="tiny", config=EngineConfig(16, 32, 512)))
    with pytest.raises(WorkloadError, match=r"call '4' of program 'long' is 600 tokens.*engine tiny .*512"):
        simulate([chain("short"), chain("long", 9)], engines, VLLM, on_program=lambda done: ended.append(done.program))
    assert not ended


def test_calls_that_wait_for_what_never_comes_are_named() -> None:
    stuck = Program("p", 0.0, (Call("0", 10, 5, (Edge("9", program="nobody"),)),))
    with pytest.raises(SimulationError, match=r"p:0 waits for the end of nobody:9"):
        simulate([chain("q"), stuck], fleet(), PRESETS["agentserve"])


@pytest.mark.parametrize(
    ("workload", "what"),
    [
        ([chain("a", arrival=5.0), chain("b", arrival=4.0)], "'b' arrives at 4 s, but comes after one .* 5 s"),
        ([chain("a"), chain("a")], "two programs have the id 'a'"),
    ],
)
def test_programs_out_of_order_or_with_one_id_are_refused(workload: list[Program], what: str) -> None:
    with pytest.raises(WorkloadError, match=what):
        simulate(iter(workload), fleet(), VLLM)


def test_samples_show_queues_and_memory_by_program() -> None:
    simulation = simulate(small(), fleet(), PRESETS["agentserve"], detail=Detail(every=0.5))
    (engine,) = simulation.engines
    samples = engine.samples
    assert [sample.at for sample in samples] == sorted(sample.at for sample in samples)
    assert any(sample.held for sample in samples), "an overload without a line"
    assert all(sample.kv_running + sample.kv_retained <= engine.kv_tokens for sample in samples)
    assert any(holding.retained for sample in samples for holding in sample.programs)
    assert samples[-1].kv_running == 0
    assert 0 < engine.busy <= simulation.makespan


def test_without_detail_only_the_figures_are_kept() -> None:
    simulation = simulate(small(4), fleet(), VLLM)
    assert not simulation.calls
    assert not simulation.engines[0].samples
    assert len(simulation.waits.first_ttft) == 4


def test_the_seed_decides_delays_and_bytes_and_nothing_else_does() -> None:
    network = Network(Uniform(0.0, 0.2))
    one, same, other = (
        simulate(small(), fleet(2), PRESETS["agentserve"], seed=seed, network=network, detail=Detail())
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one.calls != other.calls


def test_every_process_gets_the_same_result() -> None:
    script = (
        "from tests.simulator.test_world import *\n"
        "s = simulate(small(), fleet(2), PRESETS['agentserve'], seed=3, detail=Detail())\n"
        "print([(c.call, c.engine, c.first_token, c.finished, c.cached) for c in s.calls], s.pins)"
    )
    runs = (
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    first, second = runs
    assert first
    assert first == second


def test_a_client_whose_call_is_refused_gives_its_program_up() -> None:
    policy = replace(PRESETS["text2sql"], order=Choice("punctual", (("serve_lost", False),)))
    late = replace(chain("late", 3), objective_s=1e-3)
    child = replace(chain("child", 1), parent="late")
    child = replace(child, calls=(replace(child.calls[0], after=(Edge("2", 0.0, program="late"),)),))
    found = {
        program.program: program
        for program in simulate([late, child, chain("other", 2, arrival=5.0)], fleet(), policy).programs
    }
    assert set(found) == {"late", "child", "other"}, "who waits for it goes on"
    assert (found["late"].given_up, found["late"].in_time, found["late"].completion) == (True, False, float("inf"))
    assert found["other"].completion < 60.0
    assert not found["child"].given_up
