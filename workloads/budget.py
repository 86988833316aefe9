"""How lengths shrink to the context of a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from workloads.program import Call, Program, Said, SharedPrefix, Tokens, WorkloadError


@dataclass(frozen=True, slots=True)
class ContextBudget:
    """All lengths of a program are multiplied by context_tokens / max(window_tokens, the program's own peak).

    So programs keep their sizes relative to each other up to `window_tokens`, which stands for the context of the
    model they were made for, and none exceeds `context_tokens`. Nothing is ever enlarged. With a window of one token
    only those programs shrink that exceed `context_tokens`, each to just that.
    """

    context_tokens: Tokens
    window_tokens: Tokens = 1

    def __post_init__(self) -> None:
        if self.context_tokens < 1 or self.window_tokens < 1:
            raise WorkloadError(f"context_tokens and window_tokens must be at least 1, not {self}")

    def fit(self, program: Program) -> Program:
        """The program, shrunk.

        Prompts and answers are scaled, and what a call adds is the difference, so that rounding does not add up; no
        part becomes shorter than one token. Where many such parts exceed the budget, the factor is lowered.

        Raises:
            WorkloadError: the program does not fit even with one token a part.
        """
        peak = program.peak_tokens
        factor = min(1.0, self.context_tokens / max(self.window_tokens, peak))
        shrunk = program
        while factor < 1.0:
            shrunk = _scaled(program, factor)
            if shrunk.peak_tokens <= self.context_tokens:
                break
            if factor * peak < 1:
                raise WorkloadError(
                    f"{len(program.calls)} calls of program {program.id!r} do not fit into {self.context_tokens} "
                    f"tokens: give a larger context_tokens"
                )
            factor *= min(0.99, self.context_tokens / shrunk.peak_tokens)
        return shrunk


def _scaled(program: Program, factor: float) -> Program:
    prompts = program.prompt_tokens()
    ends: dict[str, Tokens] = {}
    calls: dict[str, Call] = {}
    for call in program.ordered():
        prefix = tuple(_scaled_prefix(call.prefix, factor))
        history = sum(shared.tokens for shared in prefix) if call.context is None else ends[call.context]
        new = max(1, int(prompts[call.id] * factor) - history)
        output = max(1, int(call.output_tokens * factor))
        ends[call.id] = history + new + output
        said = _scaled_said(call.said, factor)
        calls[call.id] = replace(call, new_tokens=new, output_tokens=output, prefix=prefix, said=said)
    return replace(program, calls=tuple(calls[call.id] for call in program.calls))


def _scaled_said(said: Said | None, factor: float) -> Said | None:
    """A limit that the client named shrinks with the answer that it is for."""
    if said is None or said.max_output is None:
        return said
    return replace(said, max_output=max(1, int(said.max_output * factor)))


def _scaled_prefix(prefix: tuple[SharedPrefix, ...], factor: float) -> Iterator[SharedPrefix]:
    """The texts, cut where the scaled prefix would be cut there; those of less than a token are left out."""
    end, scaled_end = 0, 0
    for shared in prefix:
        end += shared.tokens
        tokens = int(end * factor) - scaled_end
        scaled_end += tokens
        if tokens:
            yield replace(shared, tokens=tokens)
