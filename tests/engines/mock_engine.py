"""A small server that looks like vLLM to the adapters, with its answers in the test's hands."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="32",cache_dtype="auto",engine="0",num_gpu_blocks="257",prefix="a, \\"b\\""} 1.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="m"} 0.0
"""

MODELS = '{"object": "list", "data": [{"id": "m", "max_model_len": 4096}, {"id": "m-lora", "max_model_len": null}]}'
PINS = '{"cursor": 0, "reports": [], "protected_tokens": 0, "counters": {}}'
PLUGIN = '{"plugin": "agentserve", "version": "0.1.0", "vllm": "0.32.0", "guard": true, "tail_scoring": true}'
FULL = {"/health": "", "/v1/models": MODELS, "/metrics": METRICS, "/agentserve/v1/plugin": PLUGIN}


@dataclass
class MockEngine:
    """Answers GETs from `pages` (404 for others), POSTs of pins from `pins`, and anything else from `stream`."""

    url: str = ""
    pages: dict[str, str] = field(default_factory=lambda: dict(FULL))
    status: int = 200
    pins: str = PINS
    stream: Callable[[], AsyncIterator[bytes]] | None = None
    posted: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client has left in the middle of a streamed answer."""

    async def answer(self, request: Request) -> Response:
        """Every route of the server."""
        if request.method == "GET":
            return self._page(request.url.path)
        self.posted.append(await request.body())
        self.headers.append(dict(request.headers))
        if request.url.path == "/agentserve/v1/pins":
            return Response(self.pins, self.status, media_type="application/json")
        return StreamingResponse(self._chunks(), self.status, {"x-from": "mock"}, "text/event-stream")

    def _page(self, path: str) -> Response:
        page = self.pins if path == "/agentserve/v1/pins" else self.pages.get(path)
        return PlainTextResponse("Not Found", 404) if page is None else PlainTextResponse(page, self.status)

    async def _chunks(self) -> AsyncIterator[bytes]:
        assert self.stream is not None
        try:
            async for chunk in self.stream():
                yield chunk
        except asyncio.CancelledError:
            self.left.set()
            raise


@contextlib.asynccontextmanager
async def serve(mock: MockEngine) -> AsyncIterator[MockEngine]:
    """Runs the server on a free loopback port while the block runs."""
    app = Starlette(routes=[Route("/{path:path}", mock.answer, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections queue here until the server accepts
        mock.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield mock
        finally:
            server.should_exit = server.force_exit = True
            await task


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for what another process does, or for state that tells nobody when it changes."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
