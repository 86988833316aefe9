"""From calls that somebody saw happen, with their times, to programs that say why they happened when they did.

What nobody saw is inferred, by these rules:
- A call extends the longest call of its program that had ended, whose marks its own begin with, and whose prompt and
  answer fit into its prompt. (An answer whose reasoning is dropped from the history may not fit.)
- A call waits for the call it extends and for those that began after that one's end, had ended, and nobody waits for
  yet (a join of parallel calls). A call that extends none waits for all that had ended and nobody waits for yet; where
  there are none, for the last that had ended. The gap runs from the last of these ends, so that the same durations
  lead to the same times.
- A child's first calls wait for the last call of its parent that had ended; the parent's first call after the child's
  end waits for the child.
- Calls that all ask for their answer by the same time, or at once after it, belong to a program that is to end by then.
- A call that extends none begins with the texts between its marks, which are shared with all calls that have the same
  marks. A mark's place in tokens follows from its place in bytes in the first prompt that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from workloads.program import Call, Edge, Program, Said, Seconds, SharedPrefix, Tokens
from workloads.redraw import SUBAGENT

_MAX_PLACES = 1_000_000
"""Marks remembered; the least recently used goes first."""


class Mark(NamedTuple):
    """The first `size` bytes of a prompt, by a hash of them."""

    hash: int
    size: int


@dataclass(frozen=True, slots=True)
class Observed:
    """A call that was seen from `begin_s`, when it came, to `end_s`, when its last token did."""

    begin_s: Seconds
    end_s: Seconds
    prompt_tokens: Tokens
    output_tokens: Tokens
    prompt_bytes: int = 0
    marks: tuple[Mark, ...] = ()
    """Growing; the last one is at the prompt's end, or short of it."""
    tool: str = ""
    """What the answer asked for."""
    stage: str = ""
    waits: frozenset[int] | None = None
    """The calls it is known to have waited for, by their place in the program; None if that is to be inferred."""
    said: Said | None = None
    """What its client said with it; None if nobody knows."""


@dataclass(frozen=True, slots=True)
class Run:
    """The calls of one program, in the order in which they began; at least one."""

    program: str
    calls: Sequence[Observed]
    parent: str | None = None
    workflow: str = ""

    @property
    def begin_s(self) -> Seconds:
        """When the first call came."""
        return self.calls[0].begin_s

    @property
    def last(self) -> int:
        """The call that ended last."""
        return max(range(len(self.calls)), key=lambda index: self.calls[index].end_s)

    @property
    def end_s(self) -> Seconds:
        """When the last call ended."""
        return self.calls[self.last].end_s

    def ended(self, at: Seconds) -> int | None:
        """The last call that had ended by then."""
        ended = [index for index, call in enumerate(self.calls) if call.end_s <= at]
        return max(ended, key=lambda index: self.calls[index].end_s, default=None)


_SAME_S: Seconds = 0.1
"""Two deadlines that are no further apart are the same one: they are sent as whole milliseconds that are left."""


class MarkPlaces:
    """Where marks are in tokens: the same for every prompt that has them."""

    def __init__(self) -> None:
        self._places: dict[int, Tokens] = {}

    def prefix(self, call: Observed) -> tuple[SharedPrefix, ...]:
        """The texts that the call's prompt begins with; at least one token is its own."""
        texts: list[SharedPrefix] = []
        begin, longest = 0, call.prompt_tokens - 1
        for mark in call.marks:
            place = self._place(mark, call.prompt_tokens / call.prompt_bytes)
            end = min(longest, max(begin, place))
            if end > begin:
                texts.append(SharedPrefix(f"{mark.hash:016x}", end - begin))
            begin = end
        return tuple(texts)

    def _place(self, mark: Mark, tokens_per_byte: float) -> Tokens:
        place = self._places.pop(mark.hash, None)
        if place is None:
            place = round(mark.size * tokens_per_byte)
        self._places[mark.hash] = place
        if len(self._places) > _MAX_PLACES:
            del self._places[next(iter(self._places))]
        return place


def family(runs: Sequence[Run], places: MarkPlaces, start_s: Seconds) -> Iterator[Program]:
    """The programs of a run, which comes first, and of its children and their children, each after its parent.

    All arrive with the first, at its time since `start_s`.
    """
    arrival_s = max(0.0, runs[0].begin_s - start_s)
    by_name = {run.program: run for run in runs}
    calls = {run.program: _calls(run, places) for run in runs}
    for run in runs[1:]:
        _join(run, by_name[run.parent or ""], calls)
    for run in runs:
        parent = run.parent if run.parent in by_name else None
        due_s = _due(run)
        objective_s = None if due_s is None else max(0.0, due_s - runs[0].begin_s)
        yield Program(run.program, arrival_s, tuple(calls[run.program]), parent, run.workflow, objective_s)


def _due(run: Run) -> Seconds | None:
    """By when a program is to end, if all of its calls say the same."""
    due: list[tuple[Seconds, Seconds]] = []
    for call in run.calls:
        if call.said is None or call.said.deadline_s is None:
            return None
        due.append((call.begin_s, call.begin_s + call.said.deadline_s))
    first = due[0][1]
    return first if all(abs(each - max(first, begin)) <= _SAME_S for begin, each in due) else None


def _calls(run: Run, places: MarkPlaces) -> list[Call]:
    calls: list[Call] = []
    ends: list[Tokens] = []
    followed: set[int] = set()
    by_last_mark: dict[int, list[int]] = {}
    for index, seen in enumerate(run.calls):
        context = _context(run.calls, index, by_last_mark, ends)
        prefix = places.prefix(seen) if context is None else ()
        history = sum(text.tokens for text in prefix) if context is None else ends[context]
        ends.append(seen.prompt_tokens + seen.output_tokens)
        before = _before(run.calls, index, context, followed)
        followed |= before
        calls.append(
            Call(
                str(index),
                seen.prompt_tokens - history,
                seen.output_tokens,
                _edges(run.calls, index, before),
                None if context is None else str(context),
                prefix,
                seen.stage,
                seen.said,
            )
        )
        if seen.marks:
            by_last_mark.setdefault(seen.marks[-1].hash, []).append(index)
    return calls


def _context(
    calls: Sequence[Observed], index: int, by_last_mark: Mapping[int, Sequence[int]], ends: Sequence[Tokens]
) -> int | None:
    """The call whose history this one extends."""
    seen = calls[index]
    return max(
        (
            earlier
            for mark in seen.marks
            for earlier in by_last_mark.get(mark.hash, ())
            if calls[earlier].end_s <= seen.begin_s
            and calls[earlier].prompt_bytes < seen.prompt_bytes
            and ends[earlier] < seen.prompt_tokens
        ),
        key=lambda earlier: (ends[earlier], earlier),
        default=None,
    )


def _before(calls: Sequence[Observed], index: int, context: int | None, followed: set[int]) -> set[int]:
    """The calls that this one waits for."""
    begin_s = calls[index].begin_s
    ended = [earlier for earlier in range(index) if calls[earlier].end_s <= begin_s]
    known = calls[index].waits
    since_s = calls[0].begin_s if context is None else calls[context].end_s
    if known is not None:
        before = {earlier for earlier in ended if earlier in known}
    else:
        before = {earlier for earlier in ended if earlier not in followed and calls[earlier].begin_s >= since_s}
    if context is not None:
        before.add(context)
    if not before and ended:
        before.add(max(ended, key=lambda earlier: calls[earlier].end_s))
    return before


def _edges(calls: Sequence[Observed], index: int, before: set[int]) -> tuple[Edge, ...]:
    if not before:
        return ()
    gap_s = calls[index].begin_s - max(calls[earlier].end_s for earlier in before)
    return tuple(Edge(str(earlier), gap_s, calls[earlier].tool) for earlier in sorted(before))


def _join(child: Run, parent: Run, calls: dict[str, list[Call]]) -> None:
    """Ties a child's first calls to its parent's last before them, and the parent's next to the child's end."""
    for index, call in enumerate(calls[child.program]):
        begin_s = child.calls[index].begin_s
        spawner = parent.ended(begin_s)
        if not call.after and spawner is not None:
            edge = Edge(str(spawner), begin_s - parent.calls[spawner].end_s, SUBAGENT, parent.program)
            calls[child.program][index] = replace(call, after=(edge,))
    for index, call in enumerate(calls[parent.program]):
        begin_s = parent.calls[index].begin_s
        if begin_s >= child.end_s:
            own = tuple(_shortened(edge, parent, child) for edge in call.after)
            edge = Edge(str(child.last), begin_s - child.end_s, SUBAGENT, child.program)
            calls[parent.program][index] = replace(call, after=(*own, edge))
            return


def _shortened(edge: Edge, parent: Run, child: Run) -> Edge:
    """An edge whose gap was that of the child's run, which now has its own."""
    inside = edge.program == "" and parent.calls[int(edge.call)].end_s <= child.begin_s
    return replace(edge, gap_s=0.0) if inside else edge
