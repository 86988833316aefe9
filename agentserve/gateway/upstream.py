"""What goes to the engine: the client's bytes, with only our fields spliced in and forbidden ones taken out."""

from __future__ import annotations

from collections.abc import Collection

from agentserve.gateway.ids import Headers
from agentserve.gateway.request import Request
from agentserve.gateway.splice import Edit, NewValue
from scheduler.actions import Dispatch
from scheduler.types import EngineSpec, ProgramKey

CONTROL_FIELDS = frozenset(
    {
        "priority",
        "vllm_xargs",
        "session_id",
        "request_id",
        "kv_transfer_params",
        "ec_transfer_params",
        "cache_salt",
        "skip_reading_prefix_cache",
        "agentserve",
    }
)
"""Fields of a body that steer the engine and not the answer: a client may send one only if it is allowed."""

FORWARDED_HEADERS = (b"authorization", b"traceparent", b"tracestate")


def engine_body(
    request: Request, program: ProgramKey, dispatch: Dispatch, spec: EngineSpec, allow: Collection[str]
) -> bytes:
    """The body for the engine the call was dispatched to."""
    put: dict[str, NewValue] = {}
    if spec.priority and not request.protocol.priority_header:
        put["priority"] = dispatch.priority
    if spec.retention:
        ours: dict[str, str | int | float] = {
            "agentserve_program": str(program),
            "agentserve_rank": dispatch.rank,
            "agentserve_ttl": dispatch.ttl,
        }
        merged = Edit({**ours}, drop={"agentic_context"})
        put["vllm_xargs"] = merged if "vllm_xargs" in allow else ours
    elif "vllm_xargs" in allow and "vllm_xargs" in request.body.fields:
        put["vllm_xargs"] = Edit(drop={"agentic_context"})
    if request.stream and request.protocol.usage_option:
        put["stream_options"] = Edit({"include_usage": True})
    return request.body.edited(Edit(put, drop=CONTROL_FIELDS - set(allow)))


def engine_headers(
    request: Request, headers: Headers, call: str, dispatch: Dispatch, spec: EngineSpec
) -> dict[str, str]:
    """The headers for the engine. The call's id becomes the request id in the engine's own log."""
    sent = {"content-type": "application/json", "x-request-id": call}
    for name in (*FORWARDED_HEADERS, *request.protocol.versions):
        if name in headers:
            sent[name.decode()] = headers[name].decode("latin-1")
    if spec.priority and request.protocol.priority_header:
        sent[request.protocol.priority_header] = str(dispatch.priority)
    return sent
