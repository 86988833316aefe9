from __future__ import annotations

import math
import statistics
from itertools import pairwise

import pytest

from workloads.arrivals import poisson
from workloads.generate import KINDS, SMALL, SWE_AGENT, WEB_SEARCH, Kind, Profile, generate
from workloads.program import Call, Edge, Program, WorkloadError, check_workload

ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def gaps(programs: list[Program]) -> list[float]:
    return [edge.gap_s for program in programs for call in program.calls for edge in call.after]


@pytest.mark.parametrize(
    ("profile", "turns", "sd", "gap_s"), [(SWE_AGENT, 10.9, 2.1, 0.9), (WEB_SEARCH, 6.3, 2.3, 1.9)]
)
def test_turns_and_tool_times_are_the_published_ones(profile: Profile, turns: float, sd: float, gap_s: float) -> None:
    programs = generate(profile, 3000, seed=7)
    counts = [len(program.calls) for program in programs]

    assert statistics.mean(counts) == pytest.approx(turns, abs=0.35)
    assert statistics.stdev(counts) == pytest.approx(sd, abs=0.3)
    assert statistics.mean(gaps(programs)) == pytest.approx(gap_s, rel=0.1)
    assert statistics.quantiles(gaps(programs), n=100)[-1] > 8 * gap_s, "the tail is not heavy"


def test_the_small_profile_is_the_benchmarks() -> None:
    programs = generate(SMALL, 2000, seed=7)
    later = [call for program in programs for call in program.calls[1:]]
    waits = gaps(programs)

    assert {len(program.calls) for program in programs} == set(range(4, 10))
    assert all(500 <= program.calls[0].new_tokens <= 900 for program in programs)
    assert all(80 <= call.new_tokens <= 250 for call in later)
    assert all(30 <= call.output_tokens <= 90 for call in later)
    assert statistics.median(waits) == pytest.approx(0.74, rel=0.05)
    assert statistics.stdev(math.log(gap) for gap in waits) == pytest.approx(0.9, abs=0.05)
    assert max(waits) == 8.0


@ALL
def test_a_program_depends_on_kind_seed_and_index_alone(kind: Kind) -> None:
    assert generate(kind, 5, seed=1) == generate(kind, 9, seed=1)[:5]
    assert generate(kind, 5, seed=1) != generate(kind, 5, seed=2)


@ALL
@pytest.mark.parametrize("budget", [1000, 4096, 32_768])
def test_lengths_fit_the_context_budget_and_keep_their_relative_sizes(kind: Kind, budget: int) -> None:
    natural = generate(kind, 200, seed=1)
    scaled = generate(kind, 200, seed=1, context_tokens=budget)

    check_workload(scaled)
    assert max(program.peak_tokens for program in scaled) <= budget
    assert [len(program.calls) for program in scaled] == [len(program.calls) for program in natural]
    for before, after in zip(natural, scaled, strict=True):
        factor = min(1.0, budget / max(kind.window_tokens, before.peak_tokens))
        assert after.peak_tokens == pytest.approx(before.peak_tokens * factor, abs=2 * len(after.calls) + 1)


def test_a_budget_that_holds_no_program_is_refused() -> None:
    with pytest.raises(WorkloadError, match="do not fit into 10 tokens: give a larger context_tokens"):
        generate(SMALL, 20, seed=1, context_tokens=10)


def test_arrivals_are_poisson_at_the_asked_rate() -> None:
    arrivals = [program.arrival_s for program in poisson(generate(SMALL, 4000, seed=1), 0.5, seed=3)]
    spaces = [later - earlier for earlier, later in pairwise(arrivals)]

    assert arrivals[0] == 0.0
    assert statistics.mean(spaces) == pytest.approx(2.0, rel=0.05)
    assert statistics.stdev(spaces) == pytest.approx(2.0, rel=0.05), "the spaces are not exponential"


def test_another_rate_stretches_the_same_arrivals() -> None:
    programs = generate(SMALL, 20, seed=1)
    slow, fast = poisson(programs, 0.5, seed=3), poisson(programs, 2.0, seed=3)

    assert [program.arrival_s for program in slow] == pytest.approx([program.arrival_s * 4 for program in fast])
    assert {program.arrival_s for program in poisson(programs, math.inf, seed=3)} == {0.0}


def test_children_arrive_with_their_parents() -> None:
    def child(parent: str) -> Program:
        return Program(f"{parent}/kid", 0.0, (Call("0", 1, 1, (Edge("0", program=parent),)),), parent=parent)

    first, second = generate(SMALL, 2, seed=1)
    spread = poisson([first, child(first.id), second, child(second.id)], 1.0, seed=1)

    assert spread[0].arrival_s == spread[1].arrival_s < spread[2].arrival_s == spread[3].arrival_s
    with pytest.raises(WorkloadError, match="comes before its parent"):
        poisson([child(first.id), first], 1.0, seed=1)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_must_be_positive(rate: float) -> None:
    with pytest.raises(WorkloadError, match="rate_per_s must be above 0"):
        poisson(generate(SMALL, 1, seed=1), rate, seed=1)
