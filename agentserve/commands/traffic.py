"""The trace that a command replays, how a person names and changes it, and what of it was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from scheduler.types import Tokens
from simulator.fleet import EngineModel
from workloads import traces
from workloads.generate import KINDS, Kind, generate
from workloads.program import Program, WorkloadError
from workloads.staged import Workflow

GENERATED = 1000
"""Programs that are generated if nobody asks for another number."""
GENERATOR_SEED = 1
"""One trace for all seeds of a comparison; these draw arrivals, or programs from it."""
NAMED = 3
"""Files that are named of those that were left out."""


class Gaps(StrEnum):
    """How long tools run."""

    RECORDED = "recorded"
    REDRAWN = "redrawn"


TraceArgument: TypeAlias = Annotated[
    Path,
    typer.Argument(
        help="A trace of any known form: a file, a folder or an archive. Or programs that are generated: "
        f"{', '.join(KINDS)}; `:templateN` behind a Text-to-SQL one makes N percent of its prompts templates."
    ),
]
EnginesOption: TypeAlias = Annotated[str, typer.Option(help="The fleet, as 2xA100:w4,1xA6000:w4, or `hexgen`.")]
ModelOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="What the engines serve, as llama-3.1-70b; of a recording of several models, whose calls."),
]
RateOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Programs a second, as a Poisson process; without it, as recorded.")
]
ProgramsOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Use only so many programs of the trace.")]
ContextOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--context", min=1, help="Scale longer programs to so many tokens; else to what the fleet takes."),
]
GapsOption: TypeAlias = Annotated[Gaps, typer.Option(help="Tool times as recorded, or redrawn from public quantiles.")]
SkipDamagedOption: TypeAlias = Annotated[bool, typer.Option("--skip-damaged", help="Leave damaged lines out.")]


class TraceFile:
    """A trace that can be read over and over: each call begins anew. It is generated if no file has its name."""

    def __init__(
        self,
        path: Path,
        *,
        skip_damaged: bool = False,
        programs: int | None = None,
        context: Tokens | None = None,
        model: str | None = None,
    ) -> None:
        self._path = path
        self._skip_damaged = skip_damaged
        self._programs = programs
        self._context = context
        self._model = model
        self._latest: traces.Trace | None = None

    def __call__(self) -> Iterable[Program]:
        """The programs, as `traces.load`; generated ones all arrive at 0.

        Raises:
            WorkloadError: as `traces.load`, or what is to be generated is not understood.
        """
        kind = None if self._path.exists() else generated(str(self._path))
        if kind is not None:
            return generate(kind, self._programs or GENERATED, GENERATOR_SEED, self._context)
        self._latest = traces.load(
            self._path,
            skip_damaged=self._skip_damaged,
            limit=self._programs,
            context_tokens=self._context,
            model=self._model,
        )
        return self._latest

    def left_out(self) -> Iterator[str]:
        """What the latest reading, if it is over, did not take."""
        read = self._latest
        if read is not None and read.skipped:
            yield f"{read.skipped:,} damaged parts of {self._path} were left out, the first at {read.first_damage}"
        if read is not None and read.ignored:
            others = len(read.ignored) - NAMED
            more = f" and {others:,} more" if others > 0 else ""
            yield f"no traces of a known form, and left out: {', '.join(read.ignored[:NAMED])}{more}"


def generated(name: str) -> Kind | None:
    """The kind of programs of that name, with `:templateN`; None if it begins with the name of none.

    Raises:
        WorkloadError: it has no templates, or N is not from 0 to 100.
    """
    word, _, option = name.partition(":")
    kind = KINDS.get(word)
    if kind is None or not option:
        return kind
    match = re.fullmatch(r"template(\d+)", option)
    if match is None or not isinstance(kind, Workflow):
        raise WorkloadError(f"{name}: only Text-to-SQL has an option, `:templateN` with N percent, not {option!r}")
    return kind.with_templates(int(match[1]) / 100)


def context_of(fleet: Sequence[EngineModel]) -> Tokens:
    """The longest context that every engine takes."""
    return min(engine.config.max_model_len for engine in fleet)
