"""A client's request, checked once: what the gateway must know of it before any engine sees it."""

from __future__ import annotations

from dataclasses import dataclass

from agentserve.gateway.errors import ApiError, wrong
from agentserve.gateway.prompt import Prompt
from agentserve.gateway.protocols import PROTOCOLS
from agentserve.gateway.protocols.base import WireProtocol
from agentserve.gateway.splice import BadJsonError, Body
from scheduler.types import Tokens


@dataclass(frozen=True, slots=True)
class Request:
    """A request to generate, valid as far as the gateway reads it."""

    protocol: WireProtocol
    body: Body
    model: str
    prompt: Prompt
    stream: bool
    wants_usage: bool
    """The client asked for the usage chunk of its stream."""
    has_tools: bool
    max_output: Tokens | None
    stops: bool
    """It has stop strings."""

    @property
    def path(self) -> str:
        """Where it goes."""
        return self.protocol.path


def parse_request(path: str, data: bytes, salt: str = "") -> Request:
    """Reads a body of one of the inference routes. Prompts of another `salt` share nothing with it.

    Raises:
        ApiError: 400, with the parameter that is wrong.
    """
    body = parse_body(data)
    try:
        return _read(PROTOCOLS[path], body, salt)
    except BadJsonError as error:
        raise _not_json(error) from None


def parse_body(data: bytes) -> Body:
    """Reads a body that is a JSON object.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        return Body(data)
    except BadJsonError as error:
        raise _not_json(error) from None


def model_of(body: Body) -> str:
    """The model that a body asks for.

    Raises:
        ApiError: 400, it names none.
    """
    model = body.fields.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "the name of a model")
    return model


def _read(protocol: WireProtocol, body: Body, salt: str) -> Request:
    model = model_of(body)
    stream = body.fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong("stream", "true or false")
    protocol.check(body)
    return Request(
        protocol=protocol,
        body=body,
        model=model,
        prompt=protocol.prompt(body, f"{salt}\0{model}" if salt else model),
        stream=bool(stream),
        wants_usage=protocol.usage_option and _wants_usage(body, bool(stream)),
        has_tools=bool(body.fields.get("tools")),
        max_output=protocol.max_output(body),
        stops=bool(protocol.stop and body.fields.get(protocol.stop)),
    )


def _not_json(error: BadJsonError) -> ApiError:
    return ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json")


def _wants_usage(body: Body, stream: bool) -> bool:
    options = body.fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong("stream_options", "an object")
    if not stream:
        raise ApiError(400, "stream_options is only allowed when stream is true", param="stream_options")
    return bool(options.get("include_usage"))
