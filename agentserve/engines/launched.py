"""A vLLM process of our own on this machine, attached to as soon as it is healthy."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from agentserve.config import Launch
from agentserve.engines import command, logbook
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import EngineError, Progress
from agentserve.engines.process import GRACE, LoggedProcess
from scheduler.types import EngineId, EngineSpec, Seconds

START_LIMIT: Seconds = 1800.0
"""After so long an engine that is neither healthy nor dead is given up; a large model loads for many minutes."""

TELL_EVERY: Seconds = 5.0
"""Between two lines of progress."""

POLL: Seconds = 0.2


class LaunchedEngine(AttachedEngine):
    """An engine that is started and ended with the gateway."""

    def __init__(self, name: EngineId, launch: Launch, served_as: str, log: Path, host: str = command.HOST) -> None:
        super().__init__(name, f"http://{host}", command.known(launch, served_as))
        self.log = log
        self._host = host
        self._launch = launch
        self._served_as = served_as
        self._process: LoggedProcess | None = None
        self._starts = 0

    async def start(self, progress: Progress) -> EngineSpec:
        """Launches it, in place of a process that may still be there, waits until it is healthy, and probes it.

        Raises:
            EngineError: it could not be run, ended while starting (with the end of its log), or cannot be served.
        """
        await self._end()
        process = await self._spawn()
        try:
            await self._until_healthy(process, progress)
            return await super().start(progress)
        except EngineError:
            await self._end()
            raise

    @property
    def pid(self) -> int | None:
        """The process group that it runs in, once it has been started."""
        return None if self._process is None else self._process.pid

    def gone(self) -> str | None:
        """How its process has ended, or None while it runs."""
        if self._process is None or self._process.exit_code is None:
            return None
        return self._ending(self._process)

    async def stop(self) -> None:
        """Ends the process and closes the connections."""
        await self._end()
        await super().stop()

    async def _spawn(self) -> LoggedProcess:
        try:
            port = _free_port(self._host, self._launch.port or 0)
        except OSError as error:
            raise EngineError(
                f"engine {self.name} cannot have port {self._launch.port} ({error.strerror}): stop what listens there, "
                "or leave launch.port out"
            ) from error
        self._leg.url = f"http://{self._host}:{port}"
        self._starts += 1
        words = [*command.SERVER, *command.command_args(self._launch, self._served_as, port, self._host)]
        try:
            if self._starts == 1:
                self.log.unlink(missing_ok=True)  # the last gateway's
            self._process = await LoggedProcess.spawn(words, command.environment(self._launch, os.environ), self.log)
        except OSError as error:
            raise EngineError(f"engine {self.name} could not be started: {error}") from error
        return self._process

    async def _until_healthy(self, process: LoggedProcess, progress: Progress) -> None:
        loop = asyncio.get_running_loop()
        began = told = loop.time()
        while not await self.healthy():
            await process.wait(POLL)
            if process.exit_code is not None:
                raise EngineError(f"engine {self.name} did not start: {self._ending(process)}")
            now = loop.time()
            if now - began > START_LIMIT:
                raise EngineError(f"engine {self.name} was not healthy after {START_LIMIT:.0f} s; see {self.log}")
            if now - told > TELL_EVERY:
                told = now
                latest = logbook.latest(process.lines()) or "nothing logged yet"
                progress(f"engine {self.name} is starting, {now - began:.0f} s: {latest}")

    def _ending(self, process: LoggedProcess) -> str:
        reasons = "\n  ".join(logbook.ending(process.lines()))
        return f"its process ended with exit code {process.exit_code} (log: {self.log})\n  {reasons}"

    async def _end(self) -> None:
        if self._process is not None:
            await self._process.stop(GRACE)
            self._process = None


def _free_port(host: str, wanted: int) -> int:
    """The wanted port, or any where it is 0. Raises `OSError` if somebody listens there."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        candidate.bind((host, wanted))
        port: int = candidate.getsockname()[1]
        return port
