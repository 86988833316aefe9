"""How a group of samples is cut into programs: on one engine their prompt is computed once, on several they decode faster."""

from __future__ import annotations

from scheduler.types import EngineSpec, Tokens

SHARE = 0.5
"""Of an engine's memory, what one program of a group may take with all its samples."""


def parts(samples: int, prompt: Tokens, output: Tokens, engine: EngineSpec, engines: int) -> list[int]:
    """The sizes of the programs that a group is cut into, at most one an engine; the larger ones first.

    Each part computes the prompt once, and its samples decode side by side. One more part costs `prefill(prompt)`, and
    saves what a step takes longer for the larger batch, `output` times: it is made while it saves more than it costs,
    and where a part would not fit into its share of an engine's memory.
    """
    costs = engine.steps
    context = prompt + output // 2
    room = max(1, int(SHARE * engine.kv_tokens - prompt) // max(1, output))
    count = 1
    while count < min(engines, samples):
        now, then = _largest(samples, count), _largest(samples, count + 1)
        saved = output * (costs.decode(now, now * context) - costs.decode(then, then * context))
        if now <= room and saved <= costs.prefill(prompt):
            break
        count += 1
    return [samples // count + (part < samples % count) for part in range(count)]


def _largest(samples: int, count: int) -> int:
    return -(-samples // count)
