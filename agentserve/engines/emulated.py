"""An engine that only pretends: real scheduling of memory and time, filler for text.

For machines without vLLM and for tests. It is an OpenAI-compatible server on a free loopback port, in the process of
its starter, and is attached to the gateway like any other engine by its URL. `/version` and `/v1/models` say what it
is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from agentserve.engines.emulation.app import EmulatedApp
from agentserve.engines.emulation.clock import EngineClock
from agentserve.engines.emulation.faults import Fault
from simulator.engine import Engine, EngineConfig
from simulator.profile import StepProfile

KEEP_ALIVE = 75
"""Seconds an idle connection is kept: far longer than the gateway keeps its own, also where its machine is busy."""


class EmulatedServer:
    """One emulated engine. `speed` is how many of its seconds pass in a second of the clock.

    `fault` may be set and cleared at any time; it applies to calls that come afterwards.
    """

    def __init__(
        self,
        model: str,
        config: EngineConfig,
        profile: StepProfile,
        speed: float = 1.0,
        fault: Fault | None = None,
    ) -> None:
        self.fault = fault
        self.engine = Engine(config, profile)
        self._model = model
        self._speed = speed
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, host: str = "127.0.0.1") -> str:
        """Starts serving and returns the base URL. After `stop` it may be started again, and is then empty.

        Raises:
            OSError: no port is free.
        """
        self.engine = Engine(self.engine.config, self.engine.profile)
        clock = EngineClock(self.engine, self._speed)
        app = EmulatedApp(self._model, clock, lambda: self.fault)
        # asyncio sends small pieces without delay only on sockets that name their protocol
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind((host, 0))
        config = uvicorn.Config(
            app.asgi,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=KEEP_ALIVE,
        )
        self._server = _Server(config)
        serving = asyncio.create_task(self._server.serve([listener]))
        self._tasks = [asyncio.create_task(clock.run()), serving]
        await self._server.ready.wait()
        return f"http://{host}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Breaks off the calls that run, and frees the port."""
        if self._server is None:
            return
        clock, serving = self._tasks
        self._server.should_exit = True
        await serving
        clock.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await clock
        self._server = None


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to whoever runs it, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
