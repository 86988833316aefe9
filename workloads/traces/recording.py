"""What a gateway recorded: one line a call, written as the call ended.

No text is kept, only hashes of prompts' beginnings. The calls of a program are found by reading the file twice, so
that programs come in the order of their arrival and no more than one family of them lies in memory. How calls hang
together is inferred (see `workloads.traces.observed`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from workloads.jsonl import Lines
from workloads.program import MAX_SECONDS, MAX_TOKENS, Program, Said, Seconds, Tokens, WorkloadError
from workloads.traces.damage import Damage
from workloads.traces.observed import Mark, MarkPlaces, Observed, Run, family
from workloads.traces.source import Source

_Time = Annotated[Seconds, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
_Length = Annotated[Tokens, Field(ge=0, le=MAX_TOKENS)]
_Limit = Annotated[Tokens, Field(ge=1, le=MAX_TOKENS)]
_Size = Annotated[int, Field(ge=0)]


class CallStatus(StrEnum):
    """How a call ended."""

    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    ENDED = "ended"
    """No call at all: somebody has told that the program is over. Both times are when."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call as a gateway saw it.

    Times are seconds since 1970; what did not happen is None. Token counts are the engine's. `marks` are the chained
    hashes of the prompt's beginnings with their sizes in bytes, as `Mark`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    program: str
    arrived_s: _Time
    ended_s: _Time
    model: str
    prompt_bytes: _Size
    status: CallStatus = CallStatus.FINISHED
    marks: tuple[tuple[_Size, _Size], ...] = ()
    parent: str | None = None
    workflow: str = ""
    stage: str = ""
    engine: str | None = None
    why: str | None = None
    dispatched_s: _Time | None = None
    sent_s: _Time | None = None
    first_token_s: _Time | None = None
    prompt_tokens: _Length | None = None
    cached_tokens: _Length | None = None
    output_tokens: _Length | None = None
    tools: tuple[str, ...] = ()
    final: bool = False
    """The client said that it was the program's last."""
    max_output: _Limit | None = None
    """The limit of the answer that the client named."""
    deadline_s: _Time | None = None

    def __post_init__(self) -> None:
        if self.ended_s < self.arrived_s:
            raise WorkloadError(f"ended_s: the call ended at {self.ended_s}, before it arrived at {self.arrived_s}")
        if self.marks and self.marks[-1][1] > self.prompt_bytes:
            raise WorkloadError(f"marks: the last is at byte {self.marks[-1][1]} of {self.prompt_bytes}")

    @property
    def observed(self) -> Observed | None:
        """What a program can be made of; None of a call that did not finish, or whose lengths are not known.

        An empty answer becomes one token.
        """
        if self.status is not CallStatus.FINISHED or not self.prompt_tokens or self.output_tokens is None:
            return None
        return Observed(
            begin_s=self.arrived_s,
            end_s=self.ended_s,
            prompt_tokens=self.prompt_tokens,
            output_tokens=max(1, self.output_tokens),
            prompt_bytes=self.prompt_bytes,
            marks=tuple(Mark(*mark) for mark in self.marks if mark[1]),
            tool=self.tools[0] if self.tools else "",
            stage=self.stage,
            said=self._said,
        )

    @property
    def _said(self) -> Said:
        deadline_s = None if self.deadline_s is None else max(0.0, self.deadline_s - self.arrived_s)
        return Said(self.final, self.max_output, deadline_s)


RECORDING = Lines("agentserve.recording", 1, RecordedCall)


def read_recording(source: Source, damage: Damage, model: str | None = None) -> Iterator[Program]:
    """Yields each program and then its children, by arrival; the first call of the file arrives at 0.

    Calls that did not finish are left out, and so are programs without any other. A line without its end, at the
    file's end, is the last one of a gateway that was killed, and is left out too. Of the calls of several models those
    of `model` are read.

    Raises:
        WorkloadError: there are calls of several models, and `model` is none of them.
    """
    index = _Index(source, damage, model)
    places = MarkPlaces()
    for names in index.families():
        runs = [index.run(name) for name in names]
        programs = damage.attempt(f"{source.name}: program {names[0]!r}", _family, runs, places, index.start_s)
        yield from programs or ()


def _family(runs: Sequence[Run], places: MarkPlaces, start_s: Seconds) -> list[Program]:
    return list(family(runs, places, start_s))


@dataclass(slots=True)
class _Entry:
    """A program in the file."""

    parent: str | None
    begin_s: Seconds
    first_end_s: Seconds
    """When the first of its calls to end did."""
    offsets: array[int]
    """Where its lines begin."""


class _Index:
    """Where the calls of each program are in a recording."""

    def __init__(self, source: Source, damage: Damage, model: str | None) -> None:
        self._file = source.file
        by_model: dict[str, dict[str, _Entry]] = {}
        self._ended: dict[str, Seconds] = {}
        offset = number = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, start=1):
            if number == 1:
                _check_header(source.name, line)
            elif line.endswith(b"\n") and line.strip():
                call = damage.attempt(f"{source.name}:{number}", RECORDING.item, line)
                if call is not None and call.status is CallStatus.ENDED:
                    self._ended[call.program] = call.ended_s
                elif call is not None and call.observed is not None:
                    _add(by_model.setdefault(call.model, {}), call, offset)
            offset += len(line)
        self._entries = _of_one_model(source.name, by_model, model)
        self.start_s = min((entry.begin_s for entry in self._entries.values()), default=0.0)

    def families(self) -> list[list[str]]:
        """The programs by arrival, each that began after a call of its parent together with that parent."""
        names = sorted(self._entries, key=lambda name: self._entries[name].begin_s)
        families: dict[str, list[str]] = {}
        for name in names:
            parent = self._entries[name].parent
            if parent is not None and parent in families and self._spawned(name, parent):
                families[name] = families[parent]
                families[parent].append(name)
            else:
                families[name] = [name]
        return [members for name, members in families.items() if members[0] == name]

    def _spawned(self, name: str, parent: str) -> bool:
        return self._entries[parent].first_end_s <= self._entries[name].begin_s

    def calls(self, name: str) -> list[RecordedCall]:
        """The finished calls of a program, in the order of their arrival."""
        return sorted(self._lines(name), key=lambda call: call.arrived_s)

    def run(self, name: str) -> Run:
        """The calls of a program as they are needed to make one."""
        calls = self.calls(name)
        seen = [call.observed for call in calls]
        if self._ended.get(name, 0.0) >= max(call.ended_s for call in calls):
            seen[-1] = _final(seen[-1])
        return Run(name, [call for call in seen if call is not None], calls[0].parent, calls[0].workflow)

    def _lines(self, name: str) -> Iterator[RecordedCall]:
        for offset in self._entries[name].offsets:
            self._file.seek(offset)
            yield RECORDING.item(self._file.readline())


def _add(entries: dict[str, _Entry], call: RecordedCall, offset: int) -> None:
    entry = entries.get(call.program)
    if entry is None:
        entry = entries[call.program] = _Entry(call.parent, call.arrived_s, call.ended_s, array("Q"))
    entry.begin_s = min(entry.begin_s, call.arrived_s)
    entry.first_end_s = min(entry.first_end_s, call.ended_s)
    entry.offsets.append(offset)


def _of_one_model(name: str, by_model: dict[str, dict[str, _Entry]], model: str | None) -> dict[str, _Entry]:
    """The programs of the only model, or of the one that is asked for."""
    if model is not None and model in by_model:
        return by_model[model]
    if len(by_model) > 1:
        raise WorkloadError(
            f"{name}: model: there are calls of {', '.join(sorted(by_model))}, and a simulation serves one model; "
            "name the one whose calls to replay with --model"
        )
    return next(iter(by_model.values()), {})


def _final(call: Observed | None) -> Observed | None:
    """The last call of a program that was then told to be over: as if it had said so itself, which it knew too."""
    if call is None or call.said is None:
        return call
    return replace(call, said=replace(call.said, final=True))


def _check_header(name: str, line: bytes) -> None:
    try:
        RECORDING.check_header(line)
    except WorkloadError as error:
        raise WorkloadError(f"{name}:1: {error}") from None
