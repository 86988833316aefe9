"""The clock of a replay."""

from __future__ import annotations

import asyncio

from workloads.program import Seconds


class ReplayClock:
    """The workload's time in seconds: real time since the start, plus what was skipped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    def now(self) -> Seconds:
        """Seconds since the workload started."""
        return self._loop.time() - self._start

    def jump_to(self, at: Seconds) -> None:
        """Skips the time until `at`. Nothing may be asleep."""
        self._start -= max(0.0, at - self.now())

    async def sleep_until(self, at: Seconds) -> None:
        """Returns at once if `at` has passed."""
        await asyncio.sleep(max(0.0, at - self.now()))
