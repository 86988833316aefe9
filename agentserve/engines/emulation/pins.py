"""The plugin's routes of the emulated engine."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentserve.engines.emulation.clock import EngineClock
from agentserve.vllm_plugin.control import Message, parse_message
from agentserve.vllm_plugin.epochs import HEADER, Epochs, StaleError
from scheduler.events import PinOutcome


class PinRoutes:
    """Sets and reports the pins of one engine model."""

    def __init__(self, clock: EngineClock) -> None:
        self._clock = clock
        self._engine = clock.engine
        self._epochs = Epochs()
        self.ignored = 0
        """Requests whose tickets could not be read."""
        self.routes = [
            Route("/agentserve/v1/plugin", self._plugin),
            Route("/agentserve/v1/pins", self._get_pins, methods=["GET"]),
            Route("/agentserve/v1/pins", self._set_pins, methods=["POST"]),
        ]

    async def _plugin(self, request: Request) -> Response:
        own = version("agentserve")
        config = self._engine.config
        told = {"guard": config.guard, "max_num_seqs": config.max_num_seqs, "tail_scoring": True}
        return JSONResponse({"plugin": "agentserve", "version": own, "vllm": "emulated", **told})

    async def _get_pins(self, request: Request) -> Response:
        since = request.query_params.get("since")
        if since is not None and not (since.isascii() and since.isdigit() and len(since) < 20):
            return JSONResponse({"error": "'since' must be a report's number, 0 or more"}, status_code=400)
        return await self._pins(Message(since=None if since is None else int(since)))

    async def _set_pins(self, request: Request) -> Response:
        try:
            message = parse_message(await request.body())
            self._epochs.admit(request.headers.get(HEADER))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except StaleError as error:
            return JSONResponse({"error": str(error)}, status_code=409)
        return await self._pins(message)

    async def _pins(self, message: Message) -> Response:
        for order in message.pins:
            self._engine.retain(order.program, order.ttl, self._clock.now)
        await self._clock.between_steps()
        now, retention = self._clock.now, self._engine.retention
        reports = self._engine.reports_since(retention.cursor if message.since is None else message.since, now)
        return JSONResponse(
            {
                "cursor": retention.cursor,
                "reports": [report._asdict() for report in reports],
                "protected_tokens": retention.protected_blocks * self._engine.config.block_size,
                "protected_blocks": retention.protected_blocks,
                "free_blocks": self._engine.free_blocks,
                "total_blocks": self._engine.config.num_blocks,
                "block_size": self._engine.config.block_size,
                "counters": {
                    **{outcome.value: retention.counters[outcome] for outcome in PinOutcome},
                    "released": retention.released,
                    "ignored": self.ignored,
                },
                "guard": self._engine.config.guard,
            }
        )
