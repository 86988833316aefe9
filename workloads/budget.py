"""How lengths shrink to the context of a small engine."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.program import Tokens, WorkloadError


@dataclass(frozen=True, slots=True)
class ContextBudget:
    """All lengths of a program are multiplied by context_tokens / max(window_tokens, the program's own peak).

    So programs keep their sizes relative to each other up to `window_tokens`, which stands for the context of the
    model they were made for, and none exceeds `context_tokens`. Nothing is ever enlarged.
    """

    context_tokens: Tokens
    window_tokens: Tokens

    def __post_init__(self) -> None:
        if self.context_tokens < 1 or self.window_tokens < 1:
            raise WorkloadError(f"context_tokens and window_tokens must be at least 1, not {self}")

    def factor(self, peak_tokens: Tokens) -> float:
        """What to multiply the lengths of a program with this peak by."""
        return min(1.0, self.context_tokens / max(self.window_tokens, peak_tokens))
