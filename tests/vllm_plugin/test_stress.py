"""Hundreds of random requests with aborts, preemptions, pins and orders, in vLLM's real schedulers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agentserve.vllm_plugin import scheduler
from agentserve.vllm_plugin.reports import Outcome
from tests.vllm_plugin.hand_driven import BLOCK_SIZE, HandEngine, call_of, completion

REQUESTS = 300
PROGRAMS = 12


class Storm:
    """Programs whose contexts grow from call to call, now and then edited, aborted or dropped."""

    def __init__(self, engine: HandEngine, seed: int) -> None:
        self.engine = engine
        self.rng = random.Random(seed)
        self.now = 0.0
        self.system = self.words(2.2)
        self.contexts = {f"program {number}": [*self.system, *self.words(1.5)] for number in range(PROGRAMS)}
        self.ranks = {program: rank for rank, program in enumerate(self.contexts)}
        self.calls: dict[str, tuple[str, list[int], int]] = {}
        self.aborted: set[str] = set()

    def words(self, blocks: float) -> list[int]:
        return self.rng.choices(range(1, 256), k=int(blocks * BLOCK_SIZE))

    def rage(self, requests: int) -> None:
        for number in range(requests):
            self.send(f"call {number}")
            for _ in range(self.rng.randrange(4)):
                self.now += self.rng.expovariate(10)
                self.disturb()
                self.engine.step()
        self.engine.run()

    def send(self, name: str) -> None:
        program = self.rng.choice(list(self.contexts))
        prompt = [*self.contexts[program], *self.words(self.rng.uniform(0, 1.5))]
        if len(prompt) > 9 * BLOCK_SIZE:
            prompt = [*self.system, *self.words(1)]
        self.contexts[program] = prompt
        tokens = self.rng.randint(1, 40)
        self.calls[name] = (program, prompt, tokens)
        rank = self.ranks[program]
        extra = call_of(program, rank, self.rng.choice([0, 0.3, 2, 30])) if self.rng.random() < 0.9 else None
        self.engine.add(name, prompt, tokens, rank, extra)

    def disturb(self) -> None:
        if self.rng.random() < 0.06 and self.engine.scheduler.requests:
            name = self.rng.choice(list(self.engine.scheduler.requests))
            self.aborted.add(name)
            self.engine.abort(name)
        if self.rng.random() < 0.2:
            program, ttl = self.rng.choice([*self.contexts, "stranger"]), self.rng.choice([0, 0.5, 10])
            self.engine.scheduler.retention.order(program, ttl, self.now)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("guard", ["0", "1"], ids=["unguarded", "guarded"])
@pytest.mark.parametrize("seed", range(3))
def test_no_output_is_wrong_and_no_block_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, guard: str, asynchronous: bool
) -> None:
    monkeypatch.setenv("AGENTSERVE_GUARD", guard)
    engine = HandEngine(tmp_path, blocks=33, asynchronous=asynchronous)
    storm = Storm(engine, seed)
    monkeypatch.setattr(scheduler, "monotonic", lambda: storm.now)
    storm.rage(REQUESTS)

    for name, (_, prompt, tokens) in storm.calls.items():
        right = completion(prompt, tokens)
        output = engine.outputs[name]
        assert output == (right[: len(output)] if name in storm.aborted else right), name
    assert storm.aborted
    assert engine.preemptions > 0
    totals = engine.scheduler.retention.reports.totals
    assert all(totals[outcome] for outcome in Outcome), f"the storm should meet every outcome, not only {totals}"

    storm.now += 1000
    engine.scheduler.retention.expire(storm.now)
    assert engine.scheduler.retention.ownership.held_blocks == 0
    assert engine.free_blocks == len(engine.scheduler.free_queue.get_all_free_blocks()) == 32
    assert engine.scheduler.reset_prefix_cache()
