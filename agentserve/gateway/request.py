"""A client's request, checked once: what the gateway must know of it before any engine sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentserve.gateway.errors import ApiError, wrong
from agentserve.gateway.prompt import Prompt, chat_prompt, plain_prompt
from agentserve.gateway.splice import BadJsonError, Body
from scheduler.types import Tokens

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to generate, valid as far as the gateway reads it."""

    path: str
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


_PROMPTS: dict[str, Callable[[Body, str], Prompt]] = {CHAT: chat_prompt, COMPLETIONS: plain_prompt}


def parse_request(path: str, data: bytes) -> Request:
    """Reads a body of one of the two inference routes.

    Raises:
        ApiError: 400, with the parameter that is wrong.
    """
    try:
        body = Body(data)
        return _read(path, body)
    except BadJsonError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None


def _read(path: str, body: Body) -> Request:
    model = body.fields.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "the name of a model")
    stream = body.fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise wrong("stream", "true or false")
    return Request(
        path=path,
        body=body,
        model=model,
        prompt=_PROMPTS[path](body, model),
        stream=bool(stream),
        wants_usage=_wants_usage(body, bool(stream)),
        has_tools=bool(body.fields.get("tools")),
        max_output=_max_output(path, body),
        stops=bool(body.fields.get("stop")),
    )


def _wants_usage(body: Body, stream: bool) -> bool:
    options = body.fields.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong("stream_options", "an object")
    if not stream:
        raise ApiError(400, "stream_options is only allowed when stream is true", param="stream_options")
    return bool(options.get("include_usage"))


def _max_output(path: str, body: Body) -> Tokens | None:
    least = 0 if path == COMPLETIONS else 1
    limits: list[int] = []
    for name in ("max_tokens", "max_completion_tokens"):
        value = body.fields.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise wrong(name, "a positive integer")
        limits.append(value)
    return min(limits, default=None)
