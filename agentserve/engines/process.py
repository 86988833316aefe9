"""A child process with a log file: started in a group of its own, and ended with all it has started.

If we are killed before we can end it, the kernel asks it to end (Linux; see `tether`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentserve.engines.tether import tied
from scheduler.types import Seconds

GRACE: Seconds = 10.0
"""Between the polite signal and the other one."""

TAIL_BYTES = 256 * 1024


class LoggedProcess:
    """One run of a command. What it writes is appended to the log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, start: int) -> None:
        self._process = process
        self._log = log
        self._start = start

    @classmethod
    async def spawn(cls, command: Sequence[str], env: Mapping[str, str], log: Path) -> LoggedProcess:
        """Starts the command.

        Raises:
            OSError: it cannot be run, or the log cannot be written.
        """
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *tied(command),
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log, start)

    @property
    def pid(self) -> int:
        """The id of its first process, which is that of the group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.returncode

    def lines(self) -> list[str]:
        """What this run has written: its last lines, blank ones left out."""
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._start, size - TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]

    async def wait(self, limit: Seconds) -> None:
        """Waits for its end, `limit` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._process.wait()

    async def stop(self, grace: Seconds = GRACE) -> None:
        """Asks the group to end, gives its first process some seconds to do so, and kills what is left."""
        self._signal(signal.SIGTERM)
        try:
            await self.wait(grace)
        finally:
            self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        # a group outlives its first process as long as one of its children does
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
