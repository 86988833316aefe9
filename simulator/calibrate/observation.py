"""What was timed on an engine: steps that are known, and the seconds they took."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler.types import Seconds, Tokens
from simulator.profile import StepWork


class Regime(StrEnum):
    """What an engine is doing while it is timed."""

    PREFILL = "prefill"
    """A prompt that the cache does not hold, alone."""
    CACHED = "cached"
    """A prompt of which only the end is not cached, alone."""
    DECODE = "decode"
    """A batch that only decodes."""
    MIXED = "mixed"
    """A prompt that comes into a batch that decodes."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Steps that were timed together. Observations of the same regime and point are repetitions."""

    regime: Regime
    point: tuple[int, ...]
    """What was asked for: a length, or a batch and a length."""
    steps: tuple[StepWork, ...]
    seconds: Seconds
    whole_request: bool = False
    """The time is a request's, from sending it to its first token, with all that happens outside the engine."""


def prefill_steps(prompt: Tokens, cached: Tokens, max_num_batched_tokens: Tokens) -> tuple[StepWork, ...]:
    """The steps that compute a prompt alone, of which the first `cached` tokens are in the cache."""
    starts = range(cached, prompt, max_num_batched_tokens)
    return tuple(prefill_step(start, min(max_num_batched_tokens, prompt - start)) for start in starts)


def prefill_step(start: Tokens, tokens: Tokens, decode_batch: int = 0, decode_context: Tokens = 0) -> StepWork:
    """A step that prefills `tokens` tokens behind `start` others, and may decode for other requests."""
    return StepWork(tokens, tokens * (start + (tokens + 1) / 2), decode_batch, decode_context)
