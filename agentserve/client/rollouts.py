"""Groups of samples for a trainer, and the weights of the engines that write them."""

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
    from agentserve.client.sync import Client


class Rollouts:
    """The rollouts of one model. Every method raises `AgentserveError` if the gateway refuses or cannot be reached."""

    def __init__(self, client: Client, model: str) -> None:
        self.model = model
        self._client = client

    def group(
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
        return read_group(self._post("groups", {**fields, "sampling": sampling}))

    def pause(self, mode: Mode = "wait", limit: float = 60.0) -> int:
        """Has no call begun until `resume`; returns how many still run after at most `limit` seconds.

        What runs is written to its end (`wait`), goes on after the pause from where it was (`keep`), or ends with what
        it has (`abort`).
        """
        return int(read(self._post("pause", {"mode": mode, "timeout": limit}))["running"])

    def resume(self) -> None:
        """Ends a pause."""
        read(self._post("resume", {}))

    def abort(self, groups: Sequence[str] | None = None) -> int:
        """Ends the samples of these groups, or all, with what they have; returns how many."""
        return int(read(self._post("abort", {"groups": None if groups is None else list(groups)}))["aborted"])

    def update(
        self,
        version: int,
        path: str | None = None,
        *,
        steps: Sequence[tuple[str, object]] = (),
        drain: float | None = None,
    ) -> None:
        """Gives one engine after another new weights: from a folder on its machine, or by requests to vLLM's own routes
        (`("/update_weights", {...})`). Without either they are there already, and only the version and the cache change.

        Calls have `drain` seconds to end on each engine; samples go on elsewhere, or with the new weights, after that.
        """
        read(self._post("weights", update_fields(version, path, steps, drain)))

    def standing(self) -> Standing:
        """The versions, and what is written now."""
        request = self._client._http.build_request("GET", ROUTE, params={"model": self.model})
        return read_standing(self._client._send(request))

    def _post(self, route: str, fields: dict[str, Any]) -> httpx.Response:
        client, attempt = self._client, 1
        while True:
            request = client._http.build_request("POST", f"{ROUTE}/{route}", json={"model": self.model, **fields})
            response = client._send(request)
            pause = client.retries.pause(response.status_code, response.headers, attempt, None)
            if pause is None:
                return response
            client._sleep(pause)
            attempt += 1
