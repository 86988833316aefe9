"""300 requests to a real engine with the plugin and to one without: at temperature 0 both answer the same.

The weights are float32, yet the two engines batch differently, and sums of floats depend on the batch. So where the
answers part, they may do so only at a tie: the engine without the plugin must have found both tokens equally likely
within what batching can change.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vllm_plugin import tiny_engine
from tests.vllm_plugin.tiny_engine import VOCABULARY, Planned, Result

pytestmark = pytest.mark.engine

REQUESTS = 300
TIE = 1e-3


def plan_of(seed: int) -> list[Planned]:
    """Twelve programs with a common head, whose contexts grow until they are cut; some calls are aborted."""
    rng = random.Random(seed)
    system = rng.choices(range(VOCABULARY), k=70)
    contexts = [[*system, *rng.choices(range(VOCABULARY), k=50)] for _ in range(12)]
    plan: list[Planned] = []
    step = 0
    for _ in range(REQUESTS):
        program = rng.randrange(len(contexts))
        prompt = [*contexts[program], *rng.choices(range(VOCABULARY), k=rng.randint(1, 45))]
        contexts[program] = prompt if len(prompt) < 300 else [*system, *prompt[-30:]]
        steps = rng.randrange(8)
        plan.append(
            {
                "prompt": prompt,
                "max_tokens": rng.randint(1, 90),
                "priority": program,
                "extra": {
                    "agentserve_program": f"program {program}",
                    "agentserve_rank": program,
                    "agentserve_ttl": rng.choice([0, 0.05, 0.05, 60]),
                },
                "steps": steps,
                "abort_at": step + rng.randint(1, 12) if rng.random() < 0.1 else None,
            }
        )
        step += steps
    return plan


def answer(folder: Path, plan: list[Planned], kind: str) -> Result:
    plan_file, result_file = folder / "plan.json", folder / f"{kind}.json"
    plan_file.write_text(json.dumps(plan))
    command = [sys.executable, tiny_engine.__file__, str(plan_file), str(folder / "model"), str(result_file), kind]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    result: Result = json.loads(result_file.read_text())
    return result


def parting(ours: list[int], theirs: list[int]) -> int | None:
    """Where two answers first differ; None if one is the other's beginning."""
    return next((index for index, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)


def test_the_plugin_changes_no_answer_and_loses_no_block(tmp_path: Path) -> None:
    tiny_engine.write_model(tmp_path / "model")
    plan = plan_of(1)
    ours, theirs = answer(tmp_path, plan, "plugin"), answer(tmp_path, plan, "stock")

    ties = 0
    for index, planned in enumerate(plan):
        if planned["abort_at"] is None:
            assert len(ours["tokens"][index]) == len(theirs["tokens"][index]) == planned["max_tokens"]
        place = parting(ours["tokens"][index], theirs["tokens"][index])
        if place is not None:
            ties += 1
            likely = theirs["candidates"][index][place]
            assert str(ours["tokens"][index][place]) in likely, f"request {index} goes another way at {place}"
            assert max(likely.values()) - min(likely.values()) < TIE, f"request {index} at {place}: {likely}"
    assert ties <= REQUESTS // 50

    assert ours["free_blocks"] == ours["total_blocks"] == theirs["free_blocks"] == 32
    assert ours["preemptions"] > 0
    assert {"applied", "hit", "broken", "expired"} <= ours["counters"].keys()
    assert len({tuple(tokens[:8]) for tokens in theirs["tokens"] if len(tokens) >= 8}) > 100, "answers hang on contexts"
