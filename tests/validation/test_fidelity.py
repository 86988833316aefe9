"""The fidelity benchmark, with the simulator in place of the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentserve.validation.twin import simulate_replays
from scheduler.policy import PRESETS
from simulator.calibrate.observation import prefill_step
from simulator.profile import StepWork
from tests.benchmarks import programs as benchmark
from tests.benchmarks.fidelity import (
    CALIBRATION,
    LOADS,
    POLICIES,
    SHIPPED,
    Replayed,
    Run,
    against_programs,
    engine,
    fitted,
    replayed_programs,
    report,
    twins,
)
from tests.validation.sides import USUAL
from workloads.records import program_records, summarise


def played(repetitions: int = 2) -> Run:
    """A run whose real side is what the simulator says."""
    order = [(load, policy, each) for each in range(repetitions) for load in LOADS for policy in POLICIES]
    run = Run("command", 4, [Replayed(0, load.name, policy, each, USUAL) for load, policy, each in order])
    simulated = twins(run, SHIPPED)
    run.replays = [replace(replayed, real=twin) for replayed, twin in zip(run.replays, simulated, strict=True)]
    return run


def test_a_simulator_that_is_the_engine_is_within_every_bound() -> None:
    text = report(played(), SHIPPED)
    for load in LOADS:
        for policy in POLICIES:
            assert f"## {load.name}, {policy}, 2 repetitions" in text
        assert f"## {load.name}: the order of presets" in text
    assert "OUTSIDE" not in text
    assert "| NO |" not in text
    assert text.count("| within |") == len(LOADS) * len(POLICIES) * 4


def test_a_run_that_was_kept_goes_on_in_another_session(tmp_path: Path) -> None:
    run = played(1)
    run.save(tmp_path / "run.json")
    kept = Run.load(tmp_path / "run.json")
    assert kept == run
    assert kept.sessions == 1
    assert kept.has(LOADS[0], POLICIES[0], 0)
    assert not kept.has(LOADS[0], POLICIES[0], 1)


def test_repetitions_are_of_the_same_lengths_and_other_programs() -> None:
    for load in LOADS:
        one, two = load.programs(5, 0), load.programs(5, 1)
        assert not {program.id for program in one} & {program.id for program in two}
        assert [program.prompt_tokens() for program in one] == [program.prompt_tokens() for program in two]
        assert [program.arrival_s for program in one] == [program.arrival_s for program in two]


def test_the_benchmark_of_programs_is_compared_program_by_program() -> None:
    kept = benchmark.Run("command", 0.2, [0.2], 4)
    for repetition in range(2):
        asked = benchmark.Result(1.5, repetition, benchmark.STOCK, {}, 1.0, 1.0, 1.0, 0.5, 1.0, 0, {})
        names = {f"small-{repetition + 1}-{index:04d}": 1.0 for index in range(4)}
        programs = replayed_programs(kept, replace(asked, completions=names), repetition)
        (records,) = simulate_replays([programs], [engine(SHIPPED, plugin=False)], PRESETS["vllm"])
        summary = summarise(records)
        assert summary.ttft_s is not None
        assert summary.cached_share is not None
        completions = {
            program.program.partition("~")[0]: program.completion_s or 0.0 for program in program_records(records)
        }
        kept.results.append(
            replace(asked, completions=completions, mean_ttft=summary.ttft_s.mean, cached_share=summary.cached_share)
        )
    text = against_programs(kept, SHIPPED)
    assert "## 1.5 L, vLLM, 2 repetitions" in text
    assert text.count("| within |") == 4


def test_the_profile_is_fitted_to_replays_of_other_programs() -> None:
    others = [load.programs(12, 0) for load in CALIBRATION]
    assert not {program.id for programs in others for program in programs} & {
        program.id for load in LOADS for program in load.programs(12, 0)
    }
    shipped = SHIPPED.profile
    found = fitted(simulate_replays(others, [engine(SHIPPED)], PRESETS["vllm"])).profile
    for batch in (1, 3):
        decode = StepWork(decode_batch=batch, decode_context=800 * batch)
        assert found.seconds(decode) == pytest.approx(shipped.seconds(decode), rel=0.03)
    prefill = prefill_step(0, 700)
    assert found.seconds(prefill) == pytest.approx(shipped.seconds(prefill), rel=0.05)
