"""Records and outcomes written by hand."""

from __future__ import annotations

from dataclasses import replace

from agentserve.validation.outcome import Outcome
from workloads.records import CallRecord

USUAL = Outcome(mean_completion=20.0, p95_completion=30.0, mean_ttft=1.0, cached_share=0.7, makespan=60.0)


def slower(factor: float) -> Outcome:
    """The usual outcome, but programs take so many times as long."""
    return replace(USUAL, mean_completion=20.0 * factor, p95_completion=30.0 * factor)


def record(program: str, turn: int, sent: float, first: float, end: float, *, held: float | None = None) -> CallRecord:
    """A call of 100 prompt tokens, 80 of them cached after the first turn, and 10 of answer."""
    return CallRecord(
        program=program,
        call=str(turn),
        turn=turn,
        scheduled_s=sent,
        sent_s=sent,
        first_token_s=first,
        finish_s=end,
        prompt_tokens=100,
        cached_tokens=80 if turn else 0,
        output_tokens=10,
        queue_s=held,
    )
