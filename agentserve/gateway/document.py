"""The OpenAPI document: FastAPI's own routes, and beside them those of inference, which do not go through it.

Of a request to generate it says what the gateway reads; what else is in it is the engine's matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, Field

from agentserve.gateway.hints import MAX_CALLS, MAX_DEADLINE_MS, MAX_OUTPUT, MAX_PRIORITY, MAX_SIBLINGS
from agentserve.gateway.ids import MAX_ID_BYTES
from agentserve.gateway.passthrough import PASSED
from agentserve.gateway.protocols import PROTOCOLS, protocol_of
from agentserve.gateway.protocols.anthropic_messages import Messages
from agentserve.gateway.protocols.base import WireProtocol

Json: TypeAlias = Mapping[str, object]


class ErrorFields(BaseModel):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | int | None = Field(description="A word of the gateway's; an engine's own refusals have a number.")


class OpenAIError(BaseModel):
    """An error answer in OpenAI's shape."""

    error: ErrorFields


REFUSED: dict[int | str, dict[str, object]] = {
    "4XX": {
        "model": OpenAIError,
        "description": "Refused: 400 by what it says, 401 without a good key, 403 without an admin key where one is "
        "needed, 404 if there is no such thing.",
    }
}
"""How control routes refuse, for FastAPI."""

_OBJECT: Json = {"type": "object"}
_TEXT: Json = {"type": "string"}
_ANTHROPIC_ERROR: Json = {
    "type": "object",
    "description": "An error answer in Anthropic's shape.",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": _TEXT, "message": _TEXT},
        },
    },
}

_CHAT: Json = {"messages": {"type": "array", "items": _OBJECT}}
_TEXTS: Json = {"type": "array", "items": _TEXT, "minItems": 1}
_IDS: Json = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}, "minItems": 1}
_PROMPTS: Json = {"oneOf": [_TEXT, _TEXTS, _IDS, {"type": "array", "items": _IDS, "minItems": 1}]}
_BODIES: Mapping[str, Json] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": {"prompt": _PROMPTS},
    "/v1/responses": {"input": {"oneOf": [_TEXT, {"type": "array", "items": _OBJECT}]}},
    "/v1/messages": _CHAT,
    "/v1/messages/count_tokens": _CHAT,
}
"""What the gateway must find in a body beside the model."""
_PASSED_ON = "Passed on to an engine of the model, which it need not name where there is but one"


def complete(document: dict[str, Any], models: Sequence[str], *, keyed: bool) -> None:
    """Puts into FastAPI's document what it does not know of a gateway that has `models`, and asks for keys if `keyed`."""
    paths, components = document["paths"], document["components"]
    paths |= {path: {"post": _generating(protocol, models)} for path, protocol in PROTOCOLS.items()}
    paths |= {path: {"post": _passing(path, models)} for path in sorted(PASSED)}
    components["schemas"]["AnthropicError"] = _ANTHROPIC_ERROR
    components["parameters"] = _PARAMETERS
    components["headers"] = _TOLD
    if keyed:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}]
        for path in ("/health", "/ready"):
            paths[path]["get"]["security"] = []


def _generating(protocol: WireProtocol, models: Sequence[str]) -> Json:
    limits = {
        name: {"type": ["integer", "null"], "minimum": protocol.least_limit, "description": "Output tokens at most."}
        for name in protocol.limits
    }
    wanted = _BODIES[protocol.path]
    fields = {"stream": {"type": ["boolean", "null"]}, **limits, **wanted}
    answer = {"application/json": {"schema": _OBJECT}, "text/event-stream": {}}
    told = {name: {"$ref": f"#/components/headers/{name}"} for name in _TOLD}
    return {
        "tags": ["inference"],
        "summary": "Generates, as a call of its program",
        "operationId": f"generate {protocol.path}",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS],
        "requestBody": _body(models, fields, ["model", *wanted]),
        "responses": {
            "200": {"description": "The engine's answer.", "content": answer, "headers": told, "links": _LINKS},
            **_errors(protocol.path),
        },
    }


def _passing(path: str, models: Sequence[str]) -> Json:
    wanted = _BODIES.get(path, {})
    return {
        "tags": ["inference"],
        "summary": _PASSED_ON,
        "operationId": f"pass {path}",
        "requestBody": _body(models, wanted, ()),
        "responses": {
            "200": {"description": "The engine's answer.", "content": {"application/json": {}}},
            **_errors(path),
        },
    }


def _body(models: Sequence[str], fields: Json, required: Iterable[str]) -> Json:
    schema = {
        "type": "object",
        "properties": {"model": {"type": "string", "enum": list(models)}, **fields},
        "required": list(required),
    }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _errors(path: str) -> Json:
    """How a route of inference fails; in its own protocol's shape."""
    shape = "AnthropicError" if isinstance(protocol_of(path), Messages) else "OpenAIError"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    later = {"retry-after": {"description": "Seconds after which it is worth trying again.", "schema": _COUNT}}
    return {
        "4XX": {"description": "Refused by the gateway or by the engine.", "content": content},
        "429": {"description": "Over a limit of the tenant's.", "content": content, "headers": later},
        "502": {"description": "No engine that was tried has answered.", "content": content},
        "503": {"description": "No engine is up, or the gateway is stopping.", "content": content, "headers": later},
        "504": {"description": "Not answered in time.", "content": content},
    }


_COUNT: Json = {"type": "integer", "minimum": 0}
_PROGRAM: Json = {"program": "$response.header.x-agentserve-program"}
_LINKS: Json = {
    **{name: {"operationId": name, "parameters": _PROGRAM} for name in ("program_report", "end_program", "give_hints")},
    "calls": {"operationId": "calls", "parameters": _PROGRAM},
    "story": {"operationId": "story", "parameters": {"call": "$response.header.x-agentserve-call"}},
}
"""What may be asked of a call's program, and of the call."""


def _parameter(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def _whole(least: int, most: int) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most}


_ID: Json = {"type": "string", "maxLength": MAX_ID_BYTES}
_SAID: Mapping[str, tuple[Json, str]] = {
    "program": (_ID, "The program's id."),
    "parent": (_ID, "The program that started this one."),
    "workflow": (_ID, "What kind of program it is."),
    "stage": (_ID, "Which step this call is."),
    "deadline-ms": (_whole(1, MAX_DEADLINE_MS), "Milliseconds from now in which the answer is wanted."),
    "priority": (_whole(-MAX_PRIORITY, MAX_PRIORITY), "Higher goes first."),
    "expected-output": (_whole(0, MAX_OUTPUT), "Tokens that the answer is expected to have."),
    "final": ({"type": "boolean"}, "The program's last call."),
    "remaining-calls": (_whole(0, MAX_CALLS), "Calls on the longest chain from this one on, itself included."),
    "siblings": (_whole(0, MAX_SIBLINGS), "Calls of the program that are sent together with this one."),
    "join": ({"type": "boolean"}, "A later call needs this answer together with those of others."),
}
_PARAMETERS: Mapping[str, Json] = {
    name: _parameter(f"x-agentserve-{name}", schema, description) for name, (schema, description) in _SAID.items()
}
_TOLD: Mapping[str, Json] = {
    f"x-agentserve-{name}": {"description": description, "schema": schema}
    for name, description, schema in (
        ("program", "The program that the call belongs to.", _TEXT),
        ("call", "The call's id, for `agentserve explain`.", _TEXT),
        ("engine", "Where it ran.", _TEXT),
        ("queue-ms", "How long it stood in the gateway's line.", _COUNT),
        ("why", "Why it went there, in a word.", _TEXT),
        ("decision", "The last three in one.", _TEXT),
    )
}
