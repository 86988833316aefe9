"""The control routes in vLLM's API server, served if VLLM_PLUGINS names `agentserve`.

vLLM's own API key guards only its own paths: whoever reaches the port can set pins. Keep it on a trusted network.
"""

from __future__ import annotations

import json
from argparse import Namespace
from importlib.metadata import version
from typing import Protocol

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import State
from starlette.requests import Request

from agentserve.vllm_plugin import metrics, weights
from agentserve.vllm_plugin.compat import vllm_version
from agentserve.vllm_plugin.control import METHOD, Message, parse_message
from agentserve.vllm_plugin.environment import PLUGIN
from agentserve.vllm_plugin.epochs import HEADER, Epochs, StaleError

SCHEDULER = "agentserve.vllm_plugin.scheduler.make_scheduler"
MAX_BODY = 4 * 1024 * 1024
"""Bytes of a control message; 4,096 pins with the longest names fit."""


class EngineCoreClient(Protocol):
    """vLLM's connection from the API server to the engine process."""

    async def call_utility_async(self, method: str, *args: str) -> str:
        """Calls a method of the engine core."""
        ...


class EngineClient(Protocol):
    """vLLM's engine, as its API server sees it."""

    @property
    def engine_core(self) -> EngineCoreClient:
        """The connection to the engine process."""
        ...


class AgentservePlugin:
    """Adds the routes under `/agentserve/v1` to vLLM's API server."""

    name = PLUGIN
    required_tasks: tuple[str, ...] | None = ("generate",)

    def __init__(self) -> None:
        self._core: EngineCoreClient | None = None
        self._epochs = Epochs()

    def attach_router(self, app: FastAPI) -> None:
        """Registers the routes."""
        app.add_api_route("/agentserve/v1/pins", self._set_pins, methods=["POST"], response_model=None)
        app.add_api_route("/agentserve/v1/pins", self._get_pins, methods=["GET"], response_model=None)
        app.add_api_route("/agentserve/v1/weights", self._load_weights, methods=["POST"], response_model=None)
        app.add_api_route("/agentserve/v1/plugin", self._describe, methods=["GET"], response_model=None)
        app.add_api_route("/agentserve/v1/metrics", self._metrics, methods=["GET"], response_model=None)

    async def init_state(self, engine_client: EngineClient | None, state: State, args: Namespace) -> None:
        """Connects the routes to the engine, if that runs the plugin's scheduler."""
        if engine_client is not None and args.scheduler_cls == SCHEDULER:
            self._core = engine_client.engine_core

    async def _set_pins(self, request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _error(413, f"the body has more than {MAX_BODY} bytes; send fewer pins at a time")
        try:
            message = parse_message(body)
            self._epochs.admit(request.headers.get(HEADER))
        except ValueError as error:
            return _error(400, str(error))
        except StaleError as error:
            return _error(409, str(error))
        return await self._answer(message)

    async def _load_weights(self, request: Request) -> Response:
        """200 when they are loaded, 409 while requests are unfinished, 422 where they cannot be loaded."""
        if self._core is None:
            return _without_scheduler()
        body = await _body(request)
        if body is None:
            return _error(413, f"the body has more than {MAX_BODY} bytes")
        try:
            order = weights.parse_weights(body)
        except weights.BadWeightsError as error:
            return _error(400, str(error))
        result = json.loads(await self._core.call_utility_async(weights.METHOD, order.to_json()))
        return JSONResponse(result, status_code=409 if "busy" in result else 422 if "error" in result else 200)

    async def _get_pins(self, request: Request) -> Response:
        since = request.query_params.get("since")
        if since is not None and not (since.isascii() and since.isdigit() and len(since) < 20):
            return _error(400, "'since' must be a report's number, 0 or more")
        return await self._answer(Message(since=int(since) if since is not None else None))

    async def _describe(self) -> Response:
        if self._core is None:
            return _without_scheduler()
        status = json.loads(await self._ask(self._core, Message()))
        own = {"plugin": PLUGIN, "version": version("agentserve"), "vllm": vllm_version()}
        told = {name: status[name] for name in ("guard", "max_num_seqs")}
        return JSONResponse({**own, **told, "tail_scoring": True})

    async def _metrics(self) -> Response:
        if self._core is None:
            return _without_scheduler()
        page = metrics.render(json.loads(await self._ask(self._core, Message())))
        return Response(page, media_type=metrics.CONTENT_TYPE)

    async def _answer(self, message: Message) -> Response:
        if self._core is None:
            return _without_scheduler()
        return Response(await self._ask(self._core, message), media_type="application/json")

    async def _ask(self, core: EngineCoreClient, message: Message) -> str:
        return await core.call_utility_async(METHOD, message.to_json())


async def _body(request: Request) -> bytes | None:
    """The whole body; None if it is longer than `MAX_BODY`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _without_scheduler() -> Response:
    return _error(503, f"the engine runs without the plugin's scheduler; start vLLM with --scheduler-cls {SCHEDULER}")


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
