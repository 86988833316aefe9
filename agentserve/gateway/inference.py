"""The inference routes: from an ASGI request to a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from starlette.types import Receive, Scope, Send

from agentserve.config import Limits
from agentserve.gateway.call import Call
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import (
    METHOD_NOT_ALLOWED,
    ApiError,
    ClientGoneError,
    no_engine,
    too_large,
    too_long,
    unknown_model,
)
from agentserve.gateway.identity import Identity, Registrar
from agentserve.gateway.ids import Headers
from agentserve.gateway.protocols.openai_chat import Chat
from agentserve.gateway.request import Request, parse_request
from agentserve.gateway.tenants.tenant import Tenant
from agentserve.gateway.threshold import Threshold
from agentserve.gateway.virtual.call import VirtualCall
from agentserve.gateway.virtual.model import VirtualModel
from scheduler.types import EngineId, TenantId

LONGEST_TOKEN = 1024
"""Bytes that no token of any known vocabulary exceeds."""

Recall = Callable[[TenantId, str], Awaitable[None]]
NO_MODELS: Mapping[str, VirtualModel] = MappingProxyType({})


class Inference:
    """Serves POST requests to generate. Everything that is wrong with one is answered here, without an engine."""

    def __init__(
        self,
        driver: Driver,
        pools: Mapping[str, Sequence[EngineId]],
        limits: Limits,
        chain: Chain,
        virtual: Mapping[str, VirtualModel] = NO_MODELS,
        *,
        keyed: bool = False,
        recall: Recall | None = None,
        threshold: Threshold,
    ) -> None:
        """`keyed`: see `Registrar`. `recall` puts a response that the chain lacks into it, if others know it."""
        self._driver = driver
        self._pools = pools
        self._limits = limits
        self._virtual = virtual
        self._chain = chain
        self._registrar = Registrar(chain, limits.remembered, keyed=keyed)
        self._recall = recall
        self._threshold = threshold

    async def __call__(self, scope: Scope, receive: Receive, send: Send, tenant: Tenant, program: str = "") -> None:
        """Handles one request of a tenant, and of the program that its URL names if it names one.

        Raises:
            ApiError: it is refused; nothing has been sent.
        """
        try:
            call = await self._accept(scope, receive, send, tenant, program)
        except ClientGoneError:
            return
        if isinstance(call, VirtualCall):
            await call.run(receive, send)
        else:
            await call.run(receive)

    async def _accept(
        self, scope: Scope, receive: Receive, send: Send, tenant: Tenant, program: str
    ) -> Call | VirtualCall:
        headers, data = await read_post(scope, receive, self._limits.body_bytes)
        passage = tenant.passage
        request = parse_request(scope["path"], data, passage.salt)
        previous = request.body.fields.get("previous_response_id")
        if self._recall is not None and isinstance(previous, str):
            await self._recall(tenant.id, previous)
        request = self._registrar.continued(request, tenant.id)
        virtual = self._virtual.get(request.model)
        if virtual is None:
            await self._threshold.pass_by(request.model, tenant, receive)
            self._check_pool(request)
        elif request.path != Chat.path:
            raise ApiError(400, f"virtual model {request.model!r} serves {Chat.path} only", param="model")
        identity = self._registrar.identify(headers, request, program, tenant.id)
        workflow, stage = tenant.names.known(identity.workflow, identity.stage)
        if (workflow, stage) != (identity.workflow, identity.stage):
            identity = replace(identity, workflow=workflow, stage=stage)
        self._check_wait(tenant, identity)
        self._registrar.remember(request, identity)
        self._driver.metrics.identified.labels(identity.source.value).inc()
        if virtual is not None:
            return VirtualCall(self._driver, self._limits, passage, virtual, request, identity, headers)
        return Call(self._driver, self._limits, passage, request, identity, headers, self._chain, send)

    def _check_wait(self, tenant: Tenant, identity: Identity) -> None:
        """Raises `ApiError` 429 if the call would wait too long. Those of programs that have their place do not wait."""
        known = self._driver.brain.programs.get(identity.program)
        if known is None or not known.member:
            tenant.check_wait(self._driver.now())

    def _check_pool(self, request: Request) -> None:
        if request.model not in self._pools:
            raise unknown_model(request.model, [*self._pools, *self._virtual])
        pool = self._pools[request.model]
        specs = [self._driver.specs[name] for name in pool if name in self._driver.engines]
        if not specs:
            raise no_engine(request.model, pool)
        least = request.prompt.end.size // LONGEST_TOKEN if request.prompt.tokens is None else request.prompt.tokens
        longest = max(spec.max_model_len for spec in specs)
        if least >= longest:
            raise too_long(least, longest)


async def read_post(scope: Scope, receive: Receive, limit: int) -> tuple[Headers, bytes]:
    """The headers and the whole body of a POST.

    Raises:
        ApiError: 405, it is no POST, or 413, its body is larger than `limit` bytes.
        ClientGoneError: it will never be complete.
    """
    if scope["method"] != "POST":
        raise ApiError(405, f"{scope['method']} is not allowed here; use POST", code=METHOD_NOT_ALLOWED)
    headers: Headers = dict(scope["headers"])
    return headers, await read_body(receive, headers, limit)


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body.

    Raises:
        ApiError: 413, it is larger than `limit` bytes.
        ClientGoneError: it will never be complete.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
