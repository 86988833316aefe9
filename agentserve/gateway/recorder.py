"""What happened to every call, in a file that `workloads.traces.load` makes programs of. It holds no text.

A call is one line, written when it has ended, in groups, by a thread of its own: a crash loses the last quarter of a
second and the calls under way. An existing recording is continued. A write that fails, because the disk is full for
instance, loses the calls of its group, which are counted; the next group is tried again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from io import FileIO
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from agentserve.gateway.lives import Life, Watcher
from scheduler.types import DEFAULT_TENANT, ProgramKey, Seconds
from workloads.program import MAX_SECONDS, MAX_TOKENS, WorkloadError
from workloads.traces.recording import RECORDING, CallStatus, RecordedCall

INTERVAL: Seconds = 0.25
"""Between two groups."""
MAX_WAITING = 16_384
"""Calls that may wait to be written; further ones are lost."""
_TAIL = 1 << 16

logger = logging.getLogger(__name__)


class RecordingError(Exception):
    """A recording cannot be begun or continued. The message says why and what to do."""


class Recorder(Watcher):
    """Writes down every call of one driver."""

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        """Begins the file, or continues it.

        Raises:
            RecordingError: the file cannot be written, or is something else.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(path)
        except (OSError, WorkloadError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RecordingError(
                f"{path} cannot be recorded to: {reason}; choose another file with `record`"
            ) from error
        self._path = path
        self._lost = Counter("agentserve_recording_lost", "Calls that could not be recorded.", registry=registry)
        self._start = time.time()
        """When the driver's clock began."""
        self._waiting: deque[RecordedCall] = deque()
        self._failing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def call_ended(self, life: Life) -> None:
        """Takes a call that is over."""
        self._wait(self._line(life))

    def program_ended(self, program: ProgramKey, at: Seconds) -> None:
        """Takes the news that a program is over."""
        wall = self._start + at
        self._wait(RecordedCall(_name(program), wall, wall, model="", prompt_bytes=0, status=CallStatus.ENDED))

    def close(self) -> None:
        """Writes what is left."""
        self._closing.set()
        self._thread.join()
        self._file.close()

    def _wait(self, line: RecordedCall) -> None:
        """Lets a line wait to be written."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(line)
        else:
            self._lost.inc()

    def _line(self, life: Life) -> RecordedCall:
        arrival, dispatch, usage = life.arrival, life.dispatch, life.usage
        return RecordedCall(
            program=_name(arrival.program),
            arrived_s=self._start + arrival.at,
            ended_s=self._start + life.ended,
            model=arrival.model,
            prompt_bytes=arrival.prompt_bytes,
            status=life.status,
            marks=arrival.prefix,
            parent=None if arrival.parent is None else _name(arrival.parent),
            workflow=arrival.workflow,
            stage=arrival.stage,
            engine=None if dispatch is None else dispatch.engine,
            why=None if dispatch is None else dispatch.why.value,
            dispatched_s=self._wall(life.dispatched),
            sent_s=self._wall(life.sent),
            first_token_s=self._wall(life.first_token),
            prompt_tokens=None if usage is None else usage.prompt,
            cached_tokens=None if usage is None else usage.cached,
            output_tokens=None if usage is None else usage.output,
            tools=life.tools,
            final=arrival.final,
            max_output=None if arrival.max_output is None else min(arrival.max_output, MAX_TOKENS),
            deadline_s=None if arrival.deadline is None else min(self._start + arrival.deadline, MAX_SECONDS),
        )

    def _wall(self, at: Seconds | None) -> Seconds | None:
        return None if at is None else self._start + at

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL):
            self._write()
        self._write()

    def _write(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not group:
            return
        end = self._file.tell()
        try:
            _write_all(self._file, b"".join(map(RECORDING.line, group)))
        except OSError as error:
            self._lost.inc(len(group))
            self._cut(end)
            if not self._failing:
                logger.error("%s: calls are not recorded: %s", self._path, error)
            self._failing = True
        else:
            self._failing = False

    def _cut(self, end: int) -> None:
        """Takes half a group off the file again."""
        try:
            self._file.truncate(end)
            self._file.seek(end)
        except OSError:
            logger.exception("%s may have a damaged line at byte %d", self._path, end)


def _open(path: Path) -> FileIO:
    """The file, unbuffered, at its end: behind the header, or behind the last whole line of a recording."""
    file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    try:
        if file.seek(0, os.SEEK_END) == 0:
            _write_all(file, RECORDING.header)
        else:
            file.seek(0)
            RECORDING.check_header(file.readline())
            file.truncate(_whole_lines(file))
            file.seek(0, os.SEEK_END)
    except (OSError, WorkloadError):
        file.close()
        raise
    return file


def _whole_lines(file: FileIO) -> int:
    """Where the last whole line ends; a crash may have left half a one behind it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - _TAIL)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _name(program: ProgramKey) -> str:
    return program.program if program.tenant == DEFAULT_TENANT else str(program)
