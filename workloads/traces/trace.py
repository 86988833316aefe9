"""A trace being read: programs by arrival, each checked, scaled and with its gaps as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from workloads.budget import ContextBudget
from workloads.program import Program, Seconds, WorkloadError, check_workload
from workloads.redraw import redraw_gaps
from workloads.traces.damage import Damage
from workloads.traces.formats import FORMATS, Format, detect
from workloads.traces.recording import read_recording
from workloads.traces.source import Source, open_sources, readable

Gaps: TypeAlias = Literal["recorded", "redrawn"]


class Trace(Iterator[Program]):
    """The programs of a trace, read as they are asked for."""

    def __init__(
        self,
        path: Path,
        damage: Damage,
        limit: int | None,
        budget: ContextBudget | None,
        gaps: Gaps,
        seed: int,
        model: str | None,
    ) -> None:
        self._path = path
        self._damage = damage
        self._limit = limit
        self._budget = budget
        self._gaps = gaps
        self._seed = seed
        self._model = model
        self._known: set[str] = set()
        self._latest_s: Seconds = 0.0
        self._offset_s: Seconds = 0.0
        """Where the file's times begin: at the last arrival of the file before."""
        self._programs = self._read()
        self.ignored: list[str] = []
        """Files of a folder or archive that are no traces."""

    @property
    def skipped(self) -> int:
        """Damaged lines (or sessions, queries, traces) left out so far."""
        return self._damage.count

    @property
    def first_damage(self) -> str:
        """What was wrong with the first of them."""
        return self._damage.first

    def __next__(self) -> Program:
        """The next program.

        Raises:
            WorkloadError: see `load`.
        """
        return next(self._programs)

    def _read(self) -> Iterator[Program]:
        found = 0
        for source in open_sources(self._path):
            with readable(source.name):
                for family in self._families(source):
                    if found == self._limit:
                        return
                    found += 1
                    yield from family
        if found == 0:
            raise WorkloadError(self._nothing())

    def _families(self, source: Source) -> Iterator[list[Program]]:
        """Each program with its children, prepared."""
        form = detect(source)
        if form is None:
            self.ignored.append(source.name)
            return
        self._offset_s = self._latest_s
        family: list[Program] = []
        for program in self._programs_of(source, form):
            if family and program.parent is None:
                yield from self._checked(source, family)
                family = []
            family.append(program)
        if family:
            yield from self._checked(source, family)

    def _programs_of(self, source: Source, form: Format) -> Iterator[Program]:
        """The programs of a file as they are in it. Only recordings say of which model calls were."""
        if form.read is read_recording:
            return read_recording(source, self._damage, self._model)
        return form.read(source, self._damage)

    def _checked(self, source: Source, family: list[Program]) -> Iterator[list[Program]]:
        prepared = self._damage.attempt(source.name, self._prepared, family)
        if prepared is not None:
            yield prepared

    def _prepared(self, family: list[Program]) -> list[Program]:
        prepared = [self._prepared_program(program) for program in family]
        self._check(prepared)
        self._known.update(program.id for program in prepared)
        self._latest_s = prepared[0].arrival_s
        return prepared

    def _prepared_program(self, program: Program) -> Program:
        if self._offset_s:
            program = replace(program, arrival_s=self._offset_s + program.arrival_s)
        if self._budget is not None:
            program = self._budget.fit(program)
        return program if self._gaps == "recorded" else redraw_gaps(program, self._seed)

    def _check(self, family: list[Program]) -> None:
        first = family[0]
        if (
            len(family) > 1
            or first.parent is not None
            or any(edge.program for call in first.calls for edge in call.after)
        ):
            check_workload(family)
        for program in family:
            if program.id in self._known:
                raise WorkloadError(f"program {program.id!r} is there twice; keep its lines together")
        if first.arrival_s < self._latest_s:
            raise WorkloadError(
                f"arrival_s: program {first.id!r} arrives at {first.arrival_s:g} s, before the one ahead of it at "
                f"{self._latest_s:g} s; sort the trace by arrival"
            )

    def _nothing(self) -> str:
        if self.skipped:
            first = self.first_damage
            return f"{self._path}: nothing is left of it: {self.skipped:,} damaged parts, the first at {first}"
        known = ", ".join(known.name for known in FORMATS)
        if self.ignored:
            return f"{self._path}: nothing in it is a trace of a known form ({known})"
        return f"{self._path}: there are no programs in it"


def load(
    path: Path,
    *,
    skip_damaged: bool = False,
    limit: int | None = None,
    context_tokens: int | None = None,
    window_tokens: int = 1,
    gaps: Gaps = "recorded",
    seed: int = 0,
    model: str | None = None,
) -> Trace:
    """Reads a trace of any known form (see `workloads.traces.formats`), program by program, by arrival.

    A program's children follow it; programs wait for no others. The files of a folder come in the order of their names,
    and the times of each begin at the last arrival of the one before.

    Args:
        path: a file, a folder, or a tar archive; files may be compressed by gzip, bzip2 or xz.
        skip_damaged: leave out what is damaged, and count it, instead of ending with an error.
        limit: stop after so many programs, not counting children.
        context_tokens: scale programs to this context, by the rule of `ContextBudget`.
        window_tokens: the context that the trace was made for: all programs are scaled by their ratio. As it is, only
            programs that exceed `context_tokens` are scaled.
        gaps: "redrawn" draws those of tools anew, by `redraw_gaps` with `seed`.
        seed: for the gaps.
        model: of a recording with calls of several models, whose calls to read.

    Raises:
        WorkloadError: as programs are read: the trace cannot be read, is of no known form, or something in it is not
            what it should be. The message names the file, the line (in one large JSON document: the place) and the
            field.
    """
    budget = None if context_tokens is None else ContextBudget(context_tokens, window_tokens)
    return Trace(Path(path), Damage(skip=skip_damaged), limit, budget, gaps, seed, model)
