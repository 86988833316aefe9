"""Where calls are held whose pool has no engine and starts one on demand. The brain does not know of them yet."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, MutableMapping, Sequence

from starlette.types import Receive

from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError, ClientGoneError
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.types import CallId, EngineId, Seconds

LOOK: Seconds = 0.1
"""Between two looks for an engine."""


class Threshold:
    """Holds calls until their pool has an engine, and counts them: by that count one is started."""

    def __init__(
        self, driver: Driver, pools: Mapping[str, Sequence[EngineId]], held: MutableMapping[str, int], limit: Seconds
    ) -> None:
        """`held` has the count of each pool that starts engines on demand; no call is held for longer than `limit`."""
        self._driver = driver
        self._pools = pools
        self._held = held
        self._limit = limit

    async def pass_by(self, model: str, tenant: Tenant, receive: Receive) -> None:
        """Returns when the pool has an engine that is up, at once if it starts none on demand.

        A call that is held stands in its tenant's line, with whose limits it is refused.

        Raises:
            ApiError: 429, the tenant's line is full; 503, no engine has come up within the limit.
            ClientGoneError: the client has left.
        """
        if model not in self._held or self._is_up(model):
            return
        tenant.check_wait(self._driver.now())
        name = CallId(secrets.token_hex(12))
        gone = asyncio.ensure_future(_client_left(receive))
        tenant.line.join(name, self._driver.now())
        self._held[model] += 1
        try:
            await self._until_up(model, gone)
        finally:
            gone.cancel()
            tenant.line.leave(name)
            if model in self._held:
                self._held[model] -= 1

    async def _until_up(self, model: str, gone: asyncio.Future[None]) -> None:
        until = self._driver.now() + self._limit
        while model in self._held and not self._is_up(model):
            if self._driver.now() >= until:
                message = f"no engine of model {model!r} has started within {self._limit:g} s; try again in a while"
                raise ApiError(503, message, code="no_engine")
            await asyncio.wait([gone], timeout=LOOK)
            if gone.done():
                raise ClientGoneError

    def _is_up(self, model: str) -> bool:
        return any(name in self._driver.engines for name in self._pools[model])


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
