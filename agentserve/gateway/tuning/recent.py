"""The latest calls of a recording, without reading the rest of it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO

from scheduler.types import Seconds
from workloads.program import WorkloadError
from workloads.traces.recording import RECORDING, RecordedCall


def recent(path: Path, since: Seconds, most: int) -> list[RecordedCall]:
    """The calls that ended since then, in seconds since 1970, in the order of their ends; the last `most` of them.

    Calls are recorded as they end, so their place is found by halving the file. Damaged lines are left out.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        begin = file.seek(len(RECORDING.header))
        file.seek(_place(file, since, begin, file.seek(0, 2)))
        calls = deque((call for line in file if (call := _call(line)) and call.ended_s >= since), most)
    return list(calls)


def _place(file: BinaryIO, since: Seconds, low: int, high: int) -> int:
    """Where the first line begins whose call ended since then; a line begins at `low`, and none at or after `high`."""
    while low < high:
        middle = (low + high) // 2
        file.seek(middle)
        if middle > low:
            file.readline()  # the rest of a line that begins before
        start = file.tell()
        line = file.readline()
        call = _call(line) if start < high else None
        if call is not None and call.ended_s < since:
            low = start + len(line)
        else:
            high = middle
    return low


def _call(line: bytes) -> RecordedCall | None:
    """The call of a whole line."""
    try:
        return RECORDING.item(line) if line.endswith(b"\n") else None
    except WorkloadError:
        return None
