"""The calls of programs, for those who look at one: where each went, and how long and why it waited."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from agentserve.gateway.lives import Life, Watcher
from scheduler.story import TOLD
from scheduler.types import ProgramKey, Seconds, Tokens

EACH = 64
"""Calls kept of a program, the latest."""
ALL = 20_000
"""Calls kept in all; the program whose last call ended first is forgotten first."""


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call; times are the gateway's. What has not happened (yet), or is not known, is None."""

    call: str
    stage: str
    status: str
    """`queued` or `running` while it is under way; how it ended after that."""
    reason: str
    arrived: Seconds
    dispatched: Seconds | None
    first_token: Seconds | None
    ended: Seconds | None
    queued: Seconds | None
    """In the gateway's line, that before another attempt included; None while it stands there."""
    engine: str | None
    why: str | None
    waited: str
    """Why it went when and where it did, in words."""
    attempts: int
    prompt: Tokens | None
    cached: Tokens | None
    output: Tokens | None
    tools: tuple[str, ...]


def line(life: Life, *, over: bool) -> CallLine:
    """A call as it is now."""
    dispatch, usage = life.dispatch, life.usage
    going = "queued" if dispatch is None else "running"
    return CallLine(
        call=life.arrival.call,
        stage=life.arrival.stage,
        status=life.status.value if over else going,
        reason=life.reason,
        arrived=life.arrival.at,
        dispatched=life.dispatched,
        first_token=life.first_token,
        ended=life.ended if over else None,
        queued=None if dispatch is None and not over else life.queued,
        engine=None if dispatch is None else dispatch.engine,
        why=None if dispatch is None else dispatch.why.value,
        waited="it stands in line" if dispatch is None else TOLD[dispatch.why],
        attempts=life.attempts,
        prompt=life.arrival.prompt_tokens if usage is None else usage.prompt,
        cached=None if usage is None else usage.cached,
        output=life.output if usage is None else usage.output,
        tools=life.tools,
    )


class Calls(Watcher):
    """The latest calls that ended while this watched."""

    def __init__(self, keep: int | None = EACH) -> None:
        """`keep` is how many of each program; None is all, of however many programs."""
        self._keep = keep
        self._ended: OrderedDict[ProgramKey, deque[CallLine]] = OrderedDict()
        self._count = 0

    def call_ended(self, life: Life) -> None:
        """Keeps a line of it."""
        lines = self._ended.setdefault(life.arrival.program, deque(maxlen=self._keep))
        self._count += len(lines) != self._keep
        lines.append(line(life, over=True))
        self._ended.move_to_end(life.arrival.program)
        while self._keep is not None and self._count > ALL:
            self._count -= len(self._ended.popitem(last=False)[1])

    def of(self, program: ProgramKey, under_way: Iterable[Life]) -> list[CallLine]:
        """The program's calls by arrival; those under way are found among all that are."""
        going = [line(life, over=False) for life in under_way if life.arrival.program == program]
        return sorted([*self._ended.get(program, ()), *going], key=lambda each: each.arrived)
