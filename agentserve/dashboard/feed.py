"""The feed: what changes, as frames, to everyone who watches; each frame is built once. Nothing is done for nobody."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from agentserve.dashboard.calls import CallLine, Calls
from agentserve.dashboard.scene import Absent, Notes, Scene
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError
from agentserve.gateway.lives import Lives
from scheduler.types import ProgramKey, Seconds

RATE = 30
"""Frames a second, at most."""
SWEEP: Seconds = 0.5
"""Between two looks at all programs."""
SLOW: Seconds = 1.0
"""Between two looks at what is dear to compute. A frame goes out at least that often, so that watchers know we live."""
BACKLOG = 32
"""Frames that wait for a watcher that is slow."""
MAX_WATCHERS = 32


class Watching:
    """One who watches: the frames that wait for them."""

    def __init__(self) -> None:
        self.behind = True
        """They need everything next."""
        self._frames: deque[bytes] = deque()
        self._there = asyncio.Event()
        self._over = False

    def give(self, frame: bytes) -> None:
        """Takes a frame, or gives all up if there are too many."""
        if len(self._frames) >= BACKLOG:
            self._frames.clear()
            self.behind = True
        if not self.behind:
            self._frames.append(frame)
        self._there.set()

    def end(self) -> None:
        """There will be no more."""
        self._over = True
        self._there.set()

    async def frames(self, whole: Callable[[], bytes]) -> AsyncIterator[bytes]:
        """The frames, until there are no more; `whole` makes one that begins anew."""
        while not self._over:
            if self.behind:
                self.behind = False
                yield whole()
            elif self._frames:
                yield self._frames.popleft()
            else:
                self._there.clear()
                await self._there.wait()


class Feed:
    """Of one driver. `over` says when all watchers have to go, because the gateway ends."""

    def __init__(
        self,
        driver: Driver,
        lives: Lives,
        absent: Absent = tuple,
        notes: Notes = tuple,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._driver = driver
        self._lives = lives
        self._absent = absent
        self._notes = notes
        self._over = over
        self._watchers: list[Watching] = []
        self._scene: Scene | None = None
        self._calls = Calls()
        self._ticking: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self) -> Iterator[AsyncIterator[bytes]]:
        """The frames as server-sent events, for as long as the context lasts.

        Raises:
            ApiError: 503, too many watch already.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise ApiError(
                503, f"{MAX_WATCHERS} watch already, and no more can", code="too_many_watchers", retry_after=5
            )
        watching = Watching()
        self._watchers.append(watching)
        scene = self._scene or self._begin()
        try:
            yield watching.frames(lambda: self._whole(scene, watching))
        finally:
            self._watchers.remove(watching)
            if not self._watchers:
                self._end()

    def calls(self, program: ProgramKey) -> list[CallLine]:
        """What is known of a program's calls: those under way, and those that ended while somebody watched."""
        return self._calls.of(program, self._lives.calls.values())

    def _begin(self) -> Scene:
        now = self._driver.now()
        scene = Scene(
            self._driver.brain,
            now,
            open_calls=self._lives.calls.values(),
            pins=self._driver.metrics.pin_counts(),
            absent=self._absent,
            notes=self._notes,
        )
        scene.slow_figures()
        self._scene = scene
        self._lives.watch(scene)
        self._lives.watch(self._calls)
        self._driver.watch(scene.record)
        self._ticking = asyncio.create_task(self._tick(scene))
        return scene

    def _end(self) -> None:
        if self._scene is None or self._ticking is None:
            return
        self._ticking.cancel()
        self._driver.unwatch(self._scene.record)
        self._lives.unwatch(self._scene)
        self._lives.unwatch(self._calls)
        self._scene = self._ticking = None
        self._calls = Calls()

    async def _tick(self, scene: Scene) -> None:
        swept = told = now = due = self._driver.now()
        while not self._over():
            due = max(due + 1 / RATE, now)  # what a frame takes is not added to the time between two
            await asyncio.sleep(due - now)
            now = self._driver.now()
            if now - swept >= SWEEP:
                scene.sweep(now)
                swept = now
            frame = scene.changes(now)
            if now - told >= SLOW:
                frame |= scene.slow_figures()
                told = now
            elif len(frame) == 1:
                continue
            self._give(frame)
        for watching in self._watchers:
            watching.end()

    def _give(self, frame: dict[str, object]) -> None:
        event = encoded(frame)
        for watching in self._watchers:
            watching.give(event)

    def _whole(self, scene: Scene, watching: Watching) -> bytes:
        """Everything, for one who has nothing; what has changed until now goes to the others first."""
        now = self._driver.now()
        scene.sweep(now)
        event = encoded(scene.changes(now))
        for other in self._watchers:
            if other is not watching:
                other.give(event)
        return encoded({**scene.whole(now), "source": "live", "date": self._driver.date})


def encoded(frame: dict[str, object]) -> bytes:
    """A frame as a server-sent event."""
    return b"data: " + json.dumps(frame, separators=(",", ":")).encode() + b"\n\n"
