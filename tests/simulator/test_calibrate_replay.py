"""A profile fitted to a replay is that of the engine which the replay ran on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentserve.validation.twin import simulate_replays
from scheduler.policy import PRESETS
from simulator.calibrate.fit import fit
from simulator.calibrate.observation import Regime, prefill_step
from simulator.calibrate.replay import FEWEST_STEPS, observations
from simulator.fleet import EngineModel
from simulator.profile import StepWork
from tests.simulator.worlds import CONFIG, PROFILE, small
from workloads.records import CallRecord

OVERHEAD = 0.05
ENGINE = EngineModel("e", "cpu", replace(CONFIG, num_blocks=1024), PROFILE, request_overhead=OVERHEAD)


def record(call: str, sent: float, first: float, end: float, *, cached: int = 0, output: int = 21) -> CallRecord:
    return CallRecord(
        "p", call, 0, sent_s=sent, first_token_s=first, finish_s=end, prompt_tokens=100, cached_tokens=cached,
        output_tokens=output,
    )  # fmt: skip


def test_the_engines_constants_are_recovered() -> None:
    replays = simulate_replays([small(4, rate=0.03, seed=1), small(10, rate=0.25, seed=2)], [ENGINE], PRESETS["vllm"])
    fitted = fit(observations(replays, CONFIG.max_num_batched_tokens), "p", "test")
    for batch in (1, 3, 6):
        decode = StepWork(decode_batch=batch, decode_context=800 * batch)
        assert fitted.profile.seconds(decode) == pytest.approx(PROFILE.seconds(decode), rel=0.02)
    for tokens, batch in ((200, 0), (900, 0), (300, 4)):
        prefill = prefill_step(0, tokens, batch, 800 * batch)
        assert fitted.profile.seconds(prefill) == pytest.approx(PROFILE.seconds(prefill), rel=0.04)
    assert fitted.request_overhead == pytest.approx(OVERHEAD, rel=0.1)
    assert max(error.median for error in fitted.errors.values()) < 0.02


def test_a_step_has_the_work_of_all_that_share_it() -> None:
    long, late = record("a", 0.0, 1.0, 3.0), record("b", 1.4, 2.0, 3.0, output=11)
    found = {(item.regime, item.point): item for item in observations([[long, late]], 2048)}
    steps = found[Regime.DECODE, (0, 0)].steps
    assert len(steps) == 20
    assert [step.decode_batch for step in steps] == [1] * 10 + [2] * 10
    assert [step.prefill_tokens for step in steps if step.prefill_tokens] == [100]
    assert steps[9].prefill_tokens == 100, "its first token came with that step"
    assert found[Regime.DECODE, (0, 1)].seconds == pytest.approx(1.0)


def test_only_prompts_that_come_to_an_idle_engine_are_timed() -> None:
    alone, again = record("a", 0.0, 1.0, 3.0), record("b", 4.0, 4.5, 6.0, cached=64)
    other = record("c", 5.0, 5.5, 7.0)
    found = [item for item in observations([[alone, again, other]], 2048) if item.whole_request]
    assert [(item.regime, item.seconds) for item in found] == [(Regime.PREFILL, 1.0), (Regime.CACHED, 0.5)]
    assert found[1].steps[0].prefill_tokens == 36


def test_short_and_failed_answers_are_no_timings() -> None:
    short = record("a", 0.0, 1.0, 1.2, output=FEWEST_STEPS)
    failed = replace(record("b", 5.0, 6.0, 9.0), error="broken")
    untold = replace(record("c", 15.0, 16.0, 19.0), cached_tokens=None)
    assert [item.regime for item in observations([[short, failed, untold]], 2048)] == [Regime.PREFILL]


def test_repetitions_are_kept_apart() -> None:
    once = [record("a", 0.0, 1.0, 3.0)]
    assert len({item.point for item in observations([once, once], 2048)}) == 2
