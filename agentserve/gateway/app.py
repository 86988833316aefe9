"""The gateway as an ASGI application: inference handled directly, everything else by FastAPI."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from agentserve import __version__
from agentserve.gateway.control import control_routes
from agentserve.gateway.errors import ApiError
from agentserve.gateway.fleet import Fleet
from agentserve.gateway.inference import Inference
from agentserve.gateway.passthrough import PASSED, Passthrough
from agentserve.gateway.protocols import PROTOCOLS, protocol_of
from agentserve.gateway.scoped import scoped

DESCRIPTION = f"""\
Control and administration. The inference routes are OpenAI's, Anthropic's and vLLM's, and are handled apart from these:
`POST` to {", ".join(f"`{path}`" for path in (*PROTOCOLS, *PASSED))}. The headers `x-agentserve-program`, `-parent`,
`-stage`, `-workflow`, `-deadline-ms`, `-priority`, `-expected-output` and `-final` tell the gateway what it cannot
know; so does a base URL that begins with `/p/PROGRAM`.
"""


class Gateway:
    """The application."""

    def __init__(self, fleet: Fleet, inference: Inference, passthrough: Passthrough) -> None:
        self.driver = fleet.driver
        self._inference = inference
        self._passthrough = passthrough
        self._control = _control_app(fleet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._control(scope, receive, send)
            return
        scope, program = scoped(scope)
        if scope["path"] in PROTOCOLS:
            await self._inference(scope, receive, send, program)
        elif scope["path"] in PASSED:
            await self._passthrough(scope, receive, send)
        else:
            await self._control(scope, receive, send)


def _control_app(fleet: Fleet) -> FastAPI:
    app = FastAPI(title="agentserve", version=__version__, description=DESCRIPTION)
    app.include_router(control_routes(fleet))

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        body = protocol_of(request.url.path).error(error)
        return Response(body, error.status, media_type="application/json")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return await api_error(request, ApiError(error.status_code, f"{request.url.path}: {error.detail}"))

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return await api_error(request, ApiError(400, message, param=param or None, code="invalid_value"))

    return app
