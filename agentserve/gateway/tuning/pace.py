"""How fast an engine decodes, by the answers that it has streamed of late."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from scheduler.types import EngineId, Seconds, Tokens
from simulator.calibrate.nnls import solve
from workloads.traces.recording import RecordedCall

SHORTEST: Seconds = 1e-4
"""Of a decode step, where answers tell of none: a step takes time."""


class Pace(NamedTuple):
    """Seconds of a decode step, and what each request in it adds."""

    step: Seconds
    request: Seconds


class Answer(NamedTuple):
    """A streamed answer of more than one token."""

    begin: Seconds
    """When its first token came."""
    end: Seconds
    gaps: int
    """Between its tokens."""
    prefilled: Tokens
    """Tokens of its prompt that were not cached."""


def answers(engine: EngineId, calls: Iterable[RecordedCall]) -> list[Answer]:
    """The answers of an engine that a pace can be told by."""
    found: list[Answer] = []
    for call in calls:
        if call.engine == engine and call.first_token_s is not None and call.output_tokens and call.output_tokens > 1:
            prefilled = (call.prompt_tokens or 0) - (call.cached_tokens or 0)
            found.append(Answer(call.first_token_s, call.ended_s, call.output_tokens - 1, prefilled))
    return found


def pace(streamed: Sequence[Answer]) -> Pace:
    """The pace of an engine's answers, all of them; at least one.

    Least squares, without negative terms, of each answer's seconds a token: a constant, the mean number of answers
    that ran beside it, and the tokens that others had prefilled meanwhile, whose term is left out of the pace.
    """
    running = _Running(streamed)
    begins = sorted((answer.begin, answer.prefilled) for answer in streamed)
    times = [begin for begin, _ in begins]
    prefilled = [0, *accumulate(tokens for _, tokens in begins)]
    rows, target = [], []
    for answer in streamed:
        others = prefilled[bisect_right(times, answer.end)] - prefilled[bisect_right(times, answer.begin)]
        rows.append([1.0, running.mean(answer.begin, answer.end), others / answer.gaps])
        target.append((answer.end - answer.begin) / answer.gaps)
    step, request, _ = solve(rows, target)
    return Pace(max(step, SHORTEST), request)


class _Running:
    """How many answers run at any time."""

    def __init__(self, streamed: Sequence[Answer]) -> None:
        changes = sorted([(answer.begin, 1) for answer in streamed] + [(answer.end, -1) for answer in streamed])
        self._times = [time for time, _ in changes]
        self._counts = list(accumulate(change for _, change in changes))
        spans = ((after - before) for before, after in pairwise(self._times))
        areas = (count * span for count, span in zip(self._counts, spans, strict=False))
        self._areas = [0.0, *accumulate(areas)]

    def mean(self, begin: Seconds, end: Seconds) -> float:
        """The mean number between two times at which something changed, or at the first if they are the same."""
        if end <= begin:
            return float(self._counts[bisect_right(self._times, begin) - 1])
        return (self._area(end) - self._area(begin)) / (end - begin)

    def _area(self, time: Seconds) -> float:
        """The integral up to a time at which something changed."""
        return self._areas[bisect_right(self._times, time) - 1]
