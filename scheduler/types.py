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
class EngineSpec:
    """What an engine is and can do, as probed when it came up."""

    models: tuple[str, ...]
    kv_tokens: Tokens
    block_size: Tokens
    max_model_len: Tokens
    max_num_seqs: int = 256
    retention: bool = False
    """The agentserve plugin runs in the engine: pins can be set and are reported."""
    priority: bool = False
    """The engine orders its own waiting queue by request priority."""
    prefill_tokens_per_s: float = 2000.0
    """Starting value; the brain learns it from the calls it sees."""
