"""The nouns the brain shares with whoever drives it: ids, quantities, and what an engine is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NewType, TypeAlias

Seconds: TypeAlias = float
Tokens: TypeAlias = int

TenantId = NewType("TenantId", str)
CallId = NewType("CallId", str)
EngineId = NewType("EngineId", str)

DEFAULT_TENANT = TenantId("default")
UNNAMED = "unnamed"
"""The workflow of calls whose client names neither workflow nor program. Single questions are among them: how often
another call follows is learned apart from programs that have a name."""


class ProgramKey(NamedTuple):
    """A program id within its tenant: two tenants may use the same program id."""

    tenant: TenantId
    program: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.program}"


class PrefixMark(NamedTuple):
    """The first `size` bytes of a prompt, by their chained hash.

    A prompt's marks grow along it (one a message, or one every few hundred bytes of a plain prompt): two prompts
    share their bytes up to the last mark they have in common. The hash covers the model name too, because KV of
    one adapter is of no use to another.
    """

    hash: int
    size: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the engine says a call took, in tokens. `cached` is None where the engine does not report it."""

    prompt: Tokens
    output: Tokens
    cached: Tokens | None = None


@dataclass(frozen=True, slots=True)
class StepCost:
    """What an engine's steps take in seconds, for policies that weigh memory or waiting against computing.

    The coefficients are those of the simulator's step profiles: `prefill_attention` for each pair of a prefilled token
    and a token it attends to, `decode_context` for each token in the context of a decoding request.
    """

    constant: Seconds
    prefill_token: Seconds
    prefill_attention: Seconds = 0.0
    decode_request: Seconds = 0.0
    decode_context: Seconds = 0.0

    def prefill(self, tokens: Tokens, cached: Tokens = 0) -> Seconds:
        """Prefilling `tokens` behind `cached` ones that need not be."""
        if tokens <= 0:
            return 0.0
        pairs = tokens * (cached + (tokens + 1) / 2)
        return self.constant + self.prefill_token * tokens + self.prefill_attention * pairs

    def decode(self, batch: int, context: Tokens) -> Seconds:
        """One step of `batch` decoding requests that have `context` tokens in all."""
        return self.constant + self.decode_request * batch + self.decode_context * context

    def alone(self, prompt: Tokens, cached: Tokens, output: Tokens) -> Seconds:
        """A call while nothing else runs."""
        return self.prefill(prompt - cached, cached) + output * self.decode(1, prompt + output // 2)


DECODE_STEP: Seconds = 0.03
"""A step of an engine whose steps nobody has measured."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine is and can do, as probed when it came up."""

    models: tuple[str, ...]
    kv_tokens: Tokens
    block_size: Tokens
    max_model_len: Tokens
    max_num_seqs: int = 256
    retention: bool = False
    """The agentserve plugin runs in the engine: pins can be set and are reported."""
    tail_scoring: bool = False
    """It gives the log-probabilities of a prompt's tail without computing what comes before it."""
    priority: bool = False
    """The engine orders its own waiting queue by request priority."""
    prefill_tokens_per_s: float = 2000.0
    """Starting value; the brain learns it from the calls it sees."""
    cost: StepCost | None = None
    """Measured or modelled, where there is a profile of the engine."""
    offload_tokens: Tokens = 0
    """Room of the tier that evicted KV goes to; without one it is lost."""
    offload_tokens_per_s: float = 0.0
    """How fast KV comes back from there; 0 where there is none."""

    @property
    def steps(self) -> StepCost:
        """`cost`, or a guess from the prefill rate."""
        return self.cost or StepCost(DECODE_STEP, 1 / self.prefill_tokens_per_s)
