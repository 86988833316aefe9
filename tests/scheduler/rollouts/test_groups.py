from __future__ import annotations

from dataclasses import replace

from scheduler.rollouts.groups import parts
from scheduler.types import EngineSpec, StepCost

FLAT = EngineSpec(
    ("m",), kv_tokens=100_000, block_size=16, max_model_len=4096, cost=StepCost(0.02, 0.0005, decode_request=0.0001)
)
"""Prefill of 1,000 tokens takes half a second; sixteen samples more take a step 1.6 ms longer."""


def test_a_group_stays_on_one_engine_while_its_prompt_costs_more_than_a_smaller_batch_saves() -> None:
    assert parts(16, prompt=2000, output=100, engine=FLAT, engines=4) == [16]


def test_a_short_prompt_with_long_answers_is_spread() -> None:
    assert parts(16, prompt=50, output=2000, engine=FLAT, engines=2) == [8, 8]
    assert parts(10, prompt=10, output=3000, engine=FLAT, engines=4) == [3, 3, 2, 2]


def test_a_group_that_fills_an_engine_is_spread() -> None:
    small = replace(FLAT, kv_tokens=8000)
    assert parts(16, prompt=2000, output=500, engine=small, engines=8) == [4, 4, 4, 4]


def test_there_are_no_more_parts_than_engines_or_samples() -> None:
    tiny = replace(FLAT, kv_tokens=100)
    assert parts(1, prompt=2000, output=500, engine=tiny, engines=8) == [1]
    assert parts(3, prompt=2000, output=500, engine=tiny, engines=2) == [2, 1]
