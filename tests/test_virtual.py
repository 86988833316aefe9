"""The presets on the engine model, in virtual time: exact, repeatable, and without a clock."""

from __future__ import annotations

from statistics import fmean, geometric_mean

import pytest

from scheduler.policy import PRESETS
from simulator.engine import EngineConfig
from tests.virtual import Outcome, replay
from workloads.arrivals import poisson
from workloads.generate import SMALL, generate
from workloads.program import Program

ENGINE = EngineConfig(num_blocks=256, block_size=32, max_model_len=4096)
STOCK = EngineConfig(num_blocks=256, block_size=32, max_model_len=4096, priority=False)
SEEDS = range(4)


def workload(seed: int, rate: float) -> list[Program]:
    return poisson(generate(SMALL, 16, seed), rate, seed)


def outcomes(preset: str | None, rate: float) -> list[Outcome]:
    policy = PRESETS[preset] if preset else None
    return [replay(policy, ENGINE if preset else STOCK, workload(seed, rate)) for seed in SEEDS]


def gain(stock: list[Outcome], ours: list[Outcome]) -> float:
    return geometric_mean(a.mean_completion / b.mean_completion for a, b in zip(stock, ours, strict=True))


def test_at_overload_programs_complete_much_sooner_than_on_a_stock_engine() -> None:
    stock, ours = outcomes(None, 0.44), outcomes("agentserve", 0.44)
    assert gain(stock, ours) > 1.45
    assert fmean(o.cached_share for o in ours) > 2 * fmean(o.cached_share for o in stock)
    assert fmean(o.longest_later_wait for o in ours) <= fmean(o.longest_later_wait for o in stock)


def test_at_low_load_nothing_is_lost() -> None:
    assert gain(outcomes(None, 0.024), outcomes("agentserve", 0.024)) > 0.99


def test_the_vllm_preset_is_the_stock_engine() -> None:
    for stock, ours in zip(outcomes(None, 0.3), outcomes("vllm", 0.3), strict=True):
        assert ours.completions == pytest.approx(stock.completions)


def test_a_replay_repeats_exactly() -> None:
    once, again = (replay(PRESETS["agentserve"], ENGINE, workload(1, 0.4)) for _ in range(2))
    assert once.simulation == again.simulation
    assert once.dispatches == again.dispatches
