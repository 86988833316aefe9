"""The trace that a command replays, how a person names and changes it, and what of it was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from scheduler.types import Tokens
from simulator.fleet import EngineModel
from workloads import traces

NAMED = 3
"""Files that are named of those that were left out."""


class Gaps(StrEnum):
    """How long tools run."""

    RECORDED = "recorded"
    REDRAWN = "redrawn"


TraceArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="A trace of any known form: a file, a folder or an archive.")
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
    """A trace that can be read over and over: each call begins anew."""

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

    def __call__(self) -> traces.Trace:
        """The programs, as `traces.load`."""
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


def context_of(fleet: Sequence[EngineModel]) -> Tokens:
    """The longest context that every engine takes."""
    return min(engine.config.max_model_len for engine in fleet)
