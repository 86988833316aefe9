"""Microsoft's trace of LLM requests on Azure (2023, and 2024 in the same form).

A CSV file: when each request came, and its lengths. It tells of no sessions and no shared prefixes, so each row is a
program of one call. The first row arrives at 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from workloads.program import Call, Program, WorkloadError
from workloads.traces.damage import Damage
from workloads.traces.source import Source

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read_azure(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields a program a row, as it reads."""
    start: datetime | None = None
    lines = source.lines()
    next(lines)
    for number, (where, line) in enumerate(lines, start=1):
        row = damage.attempt(where, _row, line)
        if row is None:
            continue
        time, call = row
        start = time if start is None else start
        program = damage.attempt(where, Program, f"{source.label}-{number}", (time - start).total_seconds(), (call,))
        if program is not None:
            yield program


def _row(line: bytes) -> tuple[datetime, Call]:
    cells = line.decode(errors="replace").strip().split(",")
    if len(cells) != len(COLUMNS):
        raise WorkloadError(f"there are {len(cells)} fields; expected {', '.join(COLUMNS)}")
    time, prompt, output = (cell.strip() for cell in cells)
    return _time(time), Call("0", _length(COLUMNS[1], prompt), _length(COLUMNS[2], output))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise WorkloadError(f"{COLUMNS[0]}: {text!r} is no date and time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _length(column: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise WorkloadError(f"{column}: {text!r} is no whole number") from None
