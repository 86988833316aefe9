"""Scores of a prompt's tail from vLLM's real schedulers: those of a cold run, with the prefix cache on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_plugin.hand_driven import BLOCK_SIZE, Extra, HandEngine, call_of, completion, score


@pytest.fixture(params=[False, True], ids=["synchronous", "asynchronous"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> HandEngine:
    return HandEngine(tmp_path, asynchronous=request.param)


def text(seed: int, tokens: int) -> list[int]:
    return random.Random(seed).choices(range(1, 256), k=tokens)


def scores(prompt: list[int], tail: int) -> list[float]:
    """What a cold run gives for the last tokens."""
    return [score(prompt[: end + 1]) for end in range(max(1, len(prompt) - tail), len(prompt))]


def tail_of(tokens: Any) -> Extra:
    return {"agentserve_score_tail": tokens}


def ask(engine: HandEngine, name: str, prompt: list[int], extra: Extra | None = None) -> None:
    engine.add(name, prompt, max_tokens=1, extra=extra, scored=True)
    engine.run()


def test_stock_scoring_reads_no_cache(engine: HandEngine) -> None:
    prompt = text(1, 100)
    engine.complete("first", prompt)
    ask(engine, "all", prompt)
    assert engine.cached["all"] == 0
    assert engine.scores["all"] == scores(prompt, 99)


@pytest.mark.parametrize("tail", [1, 5, 15, 16, 17, 40, 98, 99])
def test_the_tail_is_scored_as_by_a_cold_run_and_all_before_it_is_cached(engine: HandEngine, tail: int) -> None:
    prompt = text(1, 100)
    engine.complete("first", prompt)
    ask(engine, "tail", prompt, tail_of(tail))
    assert engine.scores["tail"] == scores(prompt, tail)
    assert engine.cached["tail"] == (100 - tail - 1) // BLOCK_SIZE * BLOCK_SIZE


@pytest.mark.parametrize("tail", [100, 1000])
def test_a_tail_longer_than_the_prompt_is_the_whole_prompt(engine: HandEngine, tail: int) -> None:
    prompt = text(1, 100)
    engine.complete("first", prompt)
    ask(engine, "tail", prompt, tail_of(tail))
    assert (engine.scores["tail"], engine.cached["tail"]) == (scores(prompt, 99), 0)


def test_a_tail_without_anything_cached_is_scored_all_the_same(engine: HandEngine) -> None:
    prompt = text(1, 150)  # more than one step takes
    ask(engine, "tail", prompt, tail_of(20))
    assert engine.scores["tail"] == scores(prompt, 20)


def test_a_tail_that_is_longer_than_one_step_is_scored_whole(engine: HandEngine) -> None:
    prompt = text(1, 200)
    engine.complete("first", prompt[:100])
    ask(engine, "tail", prompt, tail_of(120))
    assert engine.cached["tail"] == 64
    assert engine.scores["tail"] == scores(prompt, 120)


def test_scoring_leaves_its_context_for_the_next_call(engine: HandEngine) -> None:
    prompt = text(1, 96)
    ask(engine, "tail", prompt, tail_of(20))
    engine.complete("next", [*prompt, *text(2, 8)])
    assert engine.cached["next"] == 96


def test_other_requests_in_the_same_steps_are_as_ever(engine: HandEngine) -> None:
    shared = text(1, 64)
    engine.complete("first", shared)
    engine.add("plain", [*shared, *text(2, 10)], max_tokens=10)
    engine.add("scored", [*shared, *text(3, 12)], max_tokens=1, extra=tail_of(12), scored=True)
    engine.add("cold", [*shared, *text(4, 12)], max_tokens=1, scored=True)
    engine.run()
    assert engine.outputs["plain"] == completion([*shared, *text(2, 10)], 10)
    assert engine.scores["scored"] == scores([*shared, *text(3, 12)], 12)
    assert engine.scores["cold"] == scores([*shared, *text(4, 12)], 75)
    assert [engine.cached[name] for name in ("plain", "scored", "cold")] == [64, 48, 0]


def test_a_tail_is_scored_from_a_pinned_context(engine: HandEngine) -> None:
    context = engine.complete("first", text(1, 64), extra=call_of("agent", 1, 60))
    for seed in range(3):
        engine.complete(f"filler {seed}", text(seed + 10, 150), max_tokens=1)
    prompt = [*context[:64], *text(2, 20)]
    ask(engine, "tail", prompt, {**call_of("agent", 1, 60), **tail_of(20)})
    assert (engine.scores["tail"], engine.cached["tail"]) == (scores(prompt, 20), 48)


def test_many_tails_under_pressure_are_right_and_forgotten(engine: HandEngine) -> None:
    rng = random.Random(3)
    heads = [text(seed, 64) for seed in range(4)]
    wanted: dict[str, list[float]] = {}
    for number in range(40):
        prompt = [*rng.choice(heads), *text(100 + number, rng.randint(2, 60))]
        if rng.random() < 0.5:
            tail = rng.randint(1, 70)
            wanted[f"r{number}"] = scores(prompt, tail)
            engine.add(f"r{number}", prompt, max_tokens=1, extra=tail_of(tail), scored=True)
        else:
            engine.add(f"r{number}", prompt, max_tokens=rng.randint(1, 60))
        engine.step()
    engine.run()
    assert engine.preemptions > 0, "the load should preempt"
    assert engine.scores == wanted
    assert not engine.scheduler.tail_scores
    assert engine.free_blocks == 16


def test_an_aborted_request_is_forgotten(engine: HandEngine) -> None:
    engine.add("tail", text(1, 200), max_tokens=1, extra=tail_of(20), scored=True)
    engine.step()
    engine.abort("tail")
    engine.run()
    assert not engine.scheduler.tail_scores


@pytest.mark.parametrize("tail", [0, -3, "five", 1.5, 2**40])
def test_a_bad_tail_is_counted_and_its_request_runs_as_stock(engine: HandEngine, tail: object) -> None:
    prompt = text(1, 100)
    engine.complete("first", prompt)
    ask(engine, "tail", prompt, tail_of(tail))
    assert (engine.scores["tail"], engine.cached["tail"]) == (scores(prompt, 99), 0)
    assert engine.scheduler.ignored == 1


def test_a_tail_without_a_wish_for_log_probabilities_changes_nothing(engine: HandEngine) -> None:
    prompt = text(1, 100)
    engine.complete("first", prompt)
    engine.complete("second", prompt, extra=tail_of(50))
    assert engine.cached["second"] == 96
    assert engine.scores == {}
