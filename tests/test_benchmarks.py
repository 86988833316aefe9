"""The arithmetic of the benchmarks, which is all of them that can be wrong in silence."""

from __future__ import annotations

import pytest

from simulator.intervals import paired_ratio
from tests.benchmarks.brain_cost import idle_program_bytes, measure
from tests.benchmarks.gateway_cost import PEER, costs, table
from tests.benchmarks.programs import (
    BARE,
    LOW,
    OURS,
    STOCK,
    Alone,
    Result,
    Run,
    fit_alone,
    parts,
    report,
)
from workloads.generate import SMALL, generate


def test_a_paired_ratio_is_the_geometric_mean_with_its_t_interval() -> None:
    ratio = paired_ratio([2.0, 8.0], [1.0, 2.0])
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.value == pytest.approx(8**0.5)
    assert ratio.low < 2 < 4 < ratio.high
    same = paired_ratio([3.0] * 5, [2.0] * 5)
    assert same is not None
    assert (same.value, same.low, same.high) == pytest.approx((1.5, 1.5, 1.5))


def test_the_time_alone_is_recovered_from_exact_times() -> None:
    truth = Alone(0.0005, 0.04, 0.0)
    programs = generate(SMALL, 8, seed=3)
    fit = fit_alone([(program, truth.seconds(program)) for program in programs])
    assert (fit.prefill, fit.decode) == pytest.approx((truth.prefill, truth.decode))
    assert fit.error == pytest.approx(0.0, abs=1e-9)
    assert parts(programs[0])[0] > 0


def result(load: float, repetition: int, arm: str, seconds: float) -> Result:
    names = [program.id for program in generate(SMALL, 4, seed=repetition + 1)]
    completions = {name: seconds + index for index, name in enumerate(names)}
    return Result(load, repetition, arm, completions, 1.0, 2.0, 3.0, 0.5, 60.0, 0, {"applied": 3})


def test_a_report_has_a_row_for_every_figure_of_both_loads() -> None:
    kept = Run("command", 0.1, [0.1], 4)
    for repetition in range(2):
        for arm, seconds in ((STOCK, 40.0), (OURS, 20.0), (BARE, 30.0)):
            kept.results.append(result(1.5, repetition, arm, seconds))
        for arm in (STOCK, OURS):
            kept.results.append(result(LOW, repetition, arm, 20.0))
    text = report(kept)
    assert text.count("| completion, mean |") == 2
    assert "Maximum slowdown at 1.5 L" in text
    assert "1.93" in text, "41.5 s over 21.5 s"


def test_the_brains_cost_is_measured_over_all_kinds_of_events() -> None:
    cost = measure("agentserve", programs=20, engines=2, events=2000, seed=1)
    assert cost.events == 2000
    assert {"CallArrived", "CallFinished", "EngineObserved", "PinReported", "Wakeup"} <= cost.by_kind.keys()
    assert sum(cost.shares.values()) == pytest.approx(1.0, abs=0.01)


def test_an_idle_program_is_small() -> None:
    assert idle_program_bytes(programs=300) < 4096


def _target(small: float, agentic: float, body: float, p50: float, ok: int = 5) -> dict[str, object]:
    cpu = {"small_c1": small, "small_c32": small, "agentic_c8": agentic, "agentic_1chunk_c8": body}
    return {
        "scenarios": {
            name: {"ok": ok, "issued": 5, "p50_ms": p50, "gw": {"cpu_ms_per_req": value}} for name, value in cpu.items()
        }
    }


def test_gateway_costs_are_medians_over_whole_runs_with_ratios_to_the_peer() -> None:
    runs = [
        {
            "direct": _target(0, 0, 0, 1.0),
            PEER: _target(0.2, 10.0, 1.0, 1.5),
            "agentserve": _target(ours, 12.0, 3.0, 2.0),
        }
        for ours in (0.3, 0.4, 9.0)
    ]
    runs.append({"direct": _target(0, 0, 0, 1.0), "agentserve": _target(0.1, 1.0, 0.5, 1.0, ok=4)})
    peer, ours = costs(runs)
    assert (peer.runs, peer.small_ms, ours.runs, ours.small_ms) == (3, 0.2, 3, 0.4)
    assert ours.chunk_us == pytest.approx(9.0 * 1000 / 443, rel=1e-3)
    assert ours.added_p50_ms["agentic_c8"] == 1.0
    assert "| agentserve | 3 | 0.4 (2.00x, 1.50 to 45.00) | 12 (1.20x, 1.20 to 1.20) |" in table([peer, ours])
