"""Comparing policies: the same world for each, figures that add up, and intervals that are paired."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from scheduler.policy import PRESETS
from simulator import trace as trace_module
from simulator.compare import Comparison, Setting, compare, completions_alone, replays
from simulator.export import document
from simulator.intervals import paired_ratio, t_quantile
from simulator.ledger import Detail
from simulator.summary import FIGURES, summarise
from simulator.trace import AS_RECORDED, Draw, Trace
from simulator.whole import write_json
from simulator.world import simulate
from tests.simulator.worlds import chain, fleet, small
from workloads.program import Call, Edge, Program, WorkloadError

POLICIES = [PRESETS["vllm"], PRESETS["agentserve"]]
MEAN = next(figure for figure in FIGURES if figure.name == "mean_completion")


def compared(seeds: range = range(3), rate: float | None = 0.5) -> Comparison:
    return compare(Trace(lambda: small(8), fleet()), Setting(fleet(), rate), POLICIES, seeds, detail=Detail())


def test_every_policy_meets_the_same_arrivals() -> None:
    comparison = compared()
    arrivals = [{done.program: done.arrival for done in run.programs} for run in comparison.simulations]
    assert arrivals[:3] == arrivals[3:]
    assert arrivals[0] != arrivals[1], "seeds do not redraw the arrivals"


def test_without_a_rate_programs_arrive_as_recorded() -> None:
    recorded = {program.id: program.arrival_s for program in small(8)}
    for run in compared(range(1), None).simulations:
        assert {done.program: done.arrival for done in run.programs} == recorded


def test_the_first_policy_is_what_others_stand_against() -> None:
    comparison = compared()
    own, other = (comparison.ratio(MEAN, policy) for policy in comparison.policies)
    assert own is not None
    assert (own.value, own.low, own.high) == (1, 1, 1)
    assert other is not None
    by_seed = [
        ours.mean_completion / theirs.mean_completion
        for theirs, ours in zip(*comparison.summaries.values(), strict=True)
    ]
    assert other.value == pytest.approx(math.prod(by_seed) ** (1 / 3))
    assert other.low is not None
    assert other.high is not None
    assert other.low < other.value < other.high


def test_only_the_first_seed_is_kept_in_detail() -> None:
    assert [bool(run.calls) for run in compared().simulations] == [True, False, False] * 2


def test_a_slowdown_is_one_for_a_program_that_is_alone() -> None:
    trace = Trace(lambda: [chain("a"), chain("b", arrival=1000.0)], fleet())
    comparison = compare(trace, Setting(fleet()), POLICIES[:1], [1])
    assert comparison.summaries["vllm"][0].mean_slowdown == pytest.approx(1)
    crowded = compare(Trace(lambda: small(8), fleet()), Setting(fleet()), POLICIES[:1], [1])
    slowdown = crowded.summaries["vllm"][0].mean_slowdown
    assert slowdown is not None
    assert slowdown > 1.5


def test_children_run_alone_with_their_parents() -> None:
    parent = Program("p", 0.0, (Call("0", 100, 10), Call("1", 10, 10, (Edge("0"), Edge("0", program="c")), "0")))
    child = Program("c", 0.0, (Call("0", 50, 10, (Edge("0", 2.0, program="p"),)),), parent="p")
    trace = Trace(lambda: [parent, child, chain("q", arrival=1.0)], fleet())
    alone = completions_alone(trace, Setting(fleet()))
    assert alone.keys() == {"p", "c", "q"}
    assert alone["p"] > alone["c"] > 2.0


def test_figures_add_up() -> None:
    simulation = simulate(small(8), fleet(), PRESETS["agentserve"], detail=Detail())
    summary = summarise(simulation)
    assert summary.calls == len(simulation.calls)
    assert summary.cached_share == pytest.approx(
        sum(call.cached for call in simulation.calls) / sum(call.prompt for call in simulation.calls)
    )
    later = [call.ttft for call in simulation.calls if call.turn]
    assert summary.later_ttft == pytest.approx(sum(later) / len(later))
    assert summary.p50_completion <= summary.p95_completion <= summary.p99_completion <= summary.max_completion
    assert summary.mean_slowdown is None


def test_figures_of_nothing_are_refused() -> None:
    simulation = simulate([], fleet(), POLICIES[0])
    with pytest.raises(ValueError, match="without programs"):
        summarise(simulation)


@pytest.mark.parametrize(
    ("workload", "what"),
    [
        ([], "no programs"),
        ([chain("a"), chain("a")], "same id"),
        ([chain("a", 60)], r"call '34' of program 'a' is 4,200 tokens long.* 4,096"),
    ],
)
def test_a_trace_is_checked_as_a_whole(workload: list[Program], what: str) -> None:
    with pytest.raises(WorkloadError, match=what):
        Trace(lambda: workload, fleet())


def test_an_interval_needs_repetitions_and_is_students() -> None:
    single = paired_ratio([2.0], [1.0])
    assert single is not None
    assert single.value == pytest.approx(2.0)
    assert single.low is None
    assert not single.separated
    several = paired_ratio([1.1, 1.2, 1.3], [1.0, 1.0, 1.0])
    assert several is not None
    assert several.low == pytest.approx(0.97282, rel=1e-4)
    assert several.high == pytest.approx(1.47337, rel=1e-4)
    assert paired_ratio([0.0, 1.0], [1.0, 1.0]) is None


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (30, 2.042)])
def test_quantiles_of_students_t_are_those_of_tables(freedom: int, value: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(value, rel=2e-3)


def test_a_comparison_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    write_json(target, document(compared(range(2))))
    content = json.loads(target.read_text())
    assert content["policies"] == ["vllm", "agentserve"]
    assert [len(run["programs"]) for run in content["simulations"]] == [8] * 4
    with pytest.raises(OSError, match="No such file"):
        write_json(tmp_path / "nowhere" / "out.json", document(compared(range(1))))
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


def drawn(draw: Draw, seed: int) -> list[Program]:
    return list(Trace(lambda: small(12), fleet()).drawn(draw, seed))


def gaps_of(programs: list[Program]) -> list[float]:
    return [edge.gap_s for program in programs for call in program.calls for edge in call.after]


def test_seeds_draw_what_they_are_asked_to_and_nothing_else() -> None:
    recorded = small(12)
    assert drawn(AS_RECORDED, 1) == drawn(AS_RECORDED, 2) == recorded
    one, other = (drawn(Draw(gaps=True), seed) for seed in (1, 2))
    assert gaps_of(one) != gaps_of(other)
    assert [program.arrival_s for program in one] == [program.arrival_s for program in recorded]
    one, other = (drawn(Draw(rate=1.0), seed) for seed in (1, 2))
    assert [program.calls for program in one] == [program.calls for program in recorded]
    assert [program.arrival_s for program in one] != [program.arrival_s for program in other]
    one, other = (drawn(Draw(programs=True), seed) for seed in (1, 2))
    assert [program.id for program in one] != [program.id for program in other]
    assert [program.arrival_s for program in one] == [program.arrival_s for program in recorded]
    assert str(Draw(1.0, gaps=True, programs=True)) == (
        "arrivals, gaps, programs (each from all of the trace), bytes a token"
    )


def test_programs_are_not_drawn_from_a_trace_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "KEPT_CALLS", 10)
    trace = Trace(lambda: small(12), fleet())
    with pytest.raises(WorkloadError, match=r"programs cannot be drawn from a trace of .* 10 are kept in memory"):
        trace.drawn(Draw(programs=True), 1)
    assert list(trace.drawn(Draw(gaps=True), 1)) == list(Trace(lambda: small(12), fleet()).drawn(Draw(gaps=True), 1))


@pytest.mark.parametrize("setting", [Setting(fleet(), gaps=True), Setting(fleet(), resample=True)])
def test_programs_that_seeds_change_run_alone_as_they_are_changed(setting: Setting) -> None:
    trace, ended = Trace(lambda: small(4), fleet()), list[str]()
    comparison = compare(trace, setting, POLICIES, [1, 2], on_program=lambda done: ended.append(done.program))
    for run in comparison.simulations:
        assert run.alone.keys() == {done.program for done in run.programs}
    one, other = comparison.simulations[:2]
    assert one.alone != other.alone
    assert len(ended) == 4 * replays(setting, len(POLICIES), 2) == 4 * 6
    assert replays(Setting(fleet(), 1.0), 3, 5) == 16
    assert replays(Setting(fleet(), 1.0), 3, 5, alone=False) == 15


def test_the_makespan_counts_from_the_first_arrival() -> None:
    late, early = (simulate([chain("p", arrival=arrival)], fleet(), POLICIES[0]) for arrival in (1e6, 0.0))
    assert late.makespan == pytest.approx(early.makespan, abs=1e-3)
    assert late.makespan < 100
