"""A log that was recorded, as frames: its events go through a fresh brain, and the scene watches it in the log's time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response

from agentserve.dashboard import site
from agentserve.dashboard.calls import CallLine, Calls
from agentserve.dashboard.feed import SLOW, SWEEP, encoded
from agentserve.dashboard.routes import watching_routes
from agentserve.dashboard.scene import Frame, Scene
from agentserve.dashboard.stories import Stories
from agentserve.gateway.errors import ApiError
from agentserve.gateway.lives import Lives
from scheduler.log import opened
from scheduler.types import ProgramKey, Seconds

STEP: Seconds = 0.1
"""Of the log's time, from one frame to the next."""


class Recording:
    """The frames of a log, and the calls in it."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Replays it.

        Raises:
            UnicodeDecodeError: it is no text.
            LogError: it is damaged or of another format.
        """
        self._calls = Calls(keep=None)
        self.events = [encoded(frame) for frame in _frames(lines, self._calls)]

    @contextmanager
    def watch(self) -> Iterator[AsyncIterator[bytes]]:
        """All frames, as server-sent events."""

        async def events() -> AsyncIterator[bytes]:
            for event in self.events:
                yield event

        yield events()

    def calls(self, program: ProgramKey) -> list[CallLine]:
        """A program's calls that ended in the log."""
        return self._calls.of(program, ())


def _frames(lines: Iterable[str], calls: Calls) -> Iterator[Frame]:
    whole = (line for line in lines if line.endswith("\n"))  # a gateway that runs may be writing the last one
    brain, events = opened(whole)
    scene = Scene(brain, 0.0)
    lives = Lives([scene, calls])
    now = told = swept = slow = 0.0
    yield {
        **scene.changes(0.0),
        **scene.slow_figures(),
        "whole": True,
        "new": [],
        "rows": [],
        "source": "recorded",
        "date": 0,
    }
    for _, event, _ in events:
        now = event.at
        if now - told >= STEP:
            frame = scene.changes(told)
            if now - slow >= SLOW:
                frame |= scene.slow_figures()
                slow = now
            if len(frame) > 1:
                yield frame
            told = now
        decision = brain.handle(event)
        lives.record(event, decision)
        scene.record(event, decision)
        if now - swept >= SWEEP:
            scene.sweep(now)
            swept = now
    scene.sweep(now)
    yield {**scene.changes(now), **scene.slow_figures(), "end": True}


def app(path: Path, lines: Iterable[str]) -> FastAPI:
    """The page with the recording at a path, whose lines these are, in place of a gateway. Raises as `Recording`."""
    recording = Recording(lines)
    served = FastAPI(openapi_url=None)
    served.include_router(watching_routes(recording.watch, recording.calls, Stories(path)))
    served.include_router(site.site_routes())

    @served.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return Response(error.body(), error.status, media_type="application/json")

    return served
