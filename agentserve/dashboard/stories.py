"""The story of one call, as `agentserve explain` tells it, by a process of its own: reading a long log takes a while."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from agentserve.gateway.errors import ApiError
from scheduler.types import Seconds

LONGEST: Seconds = 120.0
"""That a log may take to be read."""


class Stories:
    """Tells them from one event log, one at a time."""

    def __init__(self, log: Path | None) -> None:
        self._log = log
        self._turn = asyncio.Lock()

    async def tell(self, call: str) -> dict[str, object]:
        """The call and its moments.

        Raises:
            ApiError: 404, there is no log, or it has no such call; 503, it takes too long.
        """
        if self._log is None:
            message = "calls have stories only where the gateway keeps a log of its events: set `event_log`"
            raise ApiError(404, message, code="no_event_log")
        async with self._turn:
            return await self._ask(self._log, call)

    async def _ask(self, log: Path, call: str) -> dict[str, object]:
        words = [sys.executable, "-P", "-m", "agentserve.telling", str(log), call]
        process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(LONGEST):
                out, err = await process.communicate()
        except TimeoutError:
            raise ApiError(503, f"{log} was not read within {LONGEST:g} s", code="log_too_long") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ApiError(404, err.decode(errors="replace").strip(), code="no_story")
        story: dict[str, object] = json.loads(out)
        return story
