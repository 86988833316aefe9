"""Programs in our own form (see `workloads.jsonl`)."""

from __future__ import annotations

from collections.abc import Iterator

from workloads.jsonl import PROGRAMS
from workloads.program import Program, WorkloadError
from workloads.traces.damage import Damage
from workloads.traces.source import Source


def read_native(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields the programs as it reads.

    Raises:
        WorkloadError: the header is of another version, even where damage is to be skipped.
    """
    lines = source.lines()
    where, header = next(lines)
    try:
        PROGRAMS.check_header(header)
    except WorkloadError as error:
        raise WorkloadError(f"{where}: {error}") from None
    for where, line in lines:
        program = damage.attempt(where, PROGRAMS.item, line)
        if program is not None:
            yield program
