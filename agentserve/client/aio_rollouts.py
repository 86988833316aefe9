"""The same as `rollouts`, for asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx

from agentserve.client.samples import (
    ROUTE,
    Group,
    Mode,
    Prompt,
    Standing,
    group_fields,
    read,
    read_group,
    read_standing,
    update_fields,
)

if TYPE_CHECKING:
    from agentserve.client.aio import AsyncClient


class AsyncRollouts:
    """`Rollouts` for asyncio."""

    def __init__(self, client: AsyncClient, model: str) -> None:
        self.model = model
        self._client = client

    async def group(
        self,
        prompt: Prompt,
        *,
        n: int,
        max_tokens: int,
        group: str = "",
        workflow: str = "",
        parent: str | None = None,
        goes_on: bool = False,
        **sampling: Any,
    ) -> Group:
        """Has `n` samples of a prompt written, and returns when all have ended.

        `sampling` are parameters of vLLM's completions (`temperature`, `top_p`, `stop`, `seed`, ...). `goes_on` keeps the
        samples' programs for further calls. A group that would be too stale (status 429) is submitted again when the
        gateway says, as often as the client's `retries` allow.
        """
        fields = group_fields(prompt, n, max_tokens, group, workflow, parent, goes_on)
        return read_group(await self._post("groups", {**fields, "sampling": sampling}))

    async def pause(self, mode: Mode = "wait", limit: float = 60.0) -> int:
        """Has no call begun until `resume`; returns how many still run after at most `limit` seconds.

        What runs is written to its end (`wait`), goes on after the pause from where it was (`keep`), or ends with what
        it has (`abort`).
        """
        return int(read(await self._post("pause", {"mode": mode, "timeout": limit}))["running"])

    async def resume(self) -> None:
        """As `Rollouts.resume`."""
        read(await self._post("resume", {}))

    async def abort(self, groups: Sequence[str] | None = None) -> int:
        """As `Rollouts.abort`."""
        return int(read(await self._post("abort", {"groups": None if groups is None else list(groups)}))["aborted"])

    async def update(
        self,
        version: int,
        path: str | None = None,
        *,
        steps: Sequence[tuple[str, object]] = (),
        drain: float | None = None,
    ) -> None:
        """As `Rollouts.update`."""
        read(await self._post("weights", update_fields(version, path, steps, drain)))

    async def standing(self) -> Standing:
        """As `Rollouts.standing`."""
        request = self._client._http.build_request("GET", ROUTE, params={"model": self.model})
        return read_standing(await self._client._send(request))

    async def _post(self, route: str, fields: dict[str, Any]) -> httpx.Response:
        client, attempt = self._client, 1
        while True:
            request = client._http.build_request("POST", f"{ROUTE}/{route}", json={"model": self.model, **fields})
            response = await client._send(request)
            pause = client.retries.pause(response.status_code, response.headers, attempt, None)
            if pause is None:
                return response
            await client._sleep(pause)
            attempt += 1
