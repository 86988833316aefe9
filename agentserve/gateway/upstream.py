"""What goes to the engine: the client's bytes, with only our fields spliced in and forbidden ones taken out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agentserve.gateway.ids import Headers
from agentserve.gateway.request import Request
from agentserve.gateway.splice import Body, Edit, NewValue
from agentserve.gateway.tenants.steering import CONTROL_HEADERS
from agentserve.gateway.tenants.tenant import SALTS, Passage
from scheduler.actions import Dispatch
from scheduler.types import EngineSpec, ProgramKey

FORWARDED_HEADERS = (b"traceparent", b"tracestate")
OURS = "agentserve_"
"""What the names of `vllm_xargs` that are for our plugin begin with."""


def engine_body(request: Request, program: ProgramKey, dispatch: Dispatch, spec: EngineSpec, passage: Passage) -> bytes:
    """The body for the engine the call was dispatched to."""
    allow = passage.allow
    put: dict[str, NewValue] = {}
    if spec.priority and not request.protocol.priority_header:
        put["priority"] = dispatch.priority
    if spec.retention:
        ours: dict[str, str | int | float] = {
            "agentserve_program": str(program),
            "agentserve_rank": dispatch.rank,
            "agentserve_ttl": dispatch.ttl,
        }
        put["vllm_xargs"] = (
            Edit({**ours}, drop=_not_for_engines(request.body, passage)) if "vllm_xargs" in allow else ours
        )
    elif "vllm_xargs" in allow and "vllm_xargs" in request.body.fields:
        put["vllm_xargs"] = Edit(drop=_not_for_engines(request.body, passage))
    put |= salted(request.body, passage)
    if request.stream and request.protocol.usage_option:
        put["stream_options"] = Edit({"include_usage": True})
    return request.body.edited(Edit(put, drop=passage.dropped))


def engine_headers(
    request: Request, headers: Headers, call: str, dispatch: Dispatch, spec: EngineSpec, passage: Passage
) -> dict[str, str]:
    """The headers for the engine. The call's id becomes the request id in the engine's own log."""
    sent = forwarded(headers, passage, request.protocol.versions) | {"x-request-id": call}
    if spec.priority and request.protocol.priority_header:
        sent[request.protocol.priority_header] = str(dispatch.priority)
    return sent


def forwarded(headers: Headers, passage: Passage, versions: Iterable[bytes] = ()) -> dict[str, str]:
    """The client's headers that the engine gets, `versions` among them."""
    names = [*FORWARDED_HEADERS, *versions, *(name.encode() for name in CONTROL_HEADERS & passage.allow)]
    if passage.authorization:
        names.append(b"authorization")
    passed = {name.decode(): headers[name].decode("latin-1") for name in names if name in headers}
    return {"content-type": "application/json", **passed}


def salted(body: Body, passage: Passage) -> Mapping[str, NewValue]:
    """The salt of the tenant's cache, behind it the client's own if that may pass, which can never be another tenant's.

    Nothing if the tenant has none: the client's own stays where it is.
    """
    own = body.fields.get("cache_salt") if "cache_salt" in passage.allow else None
    if isinstance(own, str) and (passage.salt or own.startswith(SALTS)):
        return {"cache_salt": f"{passage.salt}:{own}"}
    return {"cache_salt": passage.salt} if passage.salt else {}


def _not_for_engines(body: Body, passage: Passage) -> frozenset[str]:
    """What of `vllm_xargs` is for the gateway, only the gateway may say, or steers the engine as the field does."""
    arguments = body.fields.get("vllm_xargs")
    names = arguments if isinstance(arguments, dict) and not passage.own else ()
    ours = (name for name in names if name.startswith(OURS))
    return frozenset({"agentic_context", *passage.dropped, *ours})
