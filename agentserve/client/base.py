"""What a program tells the gateway with each of its calls, whichever way they are sent."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from agentserve.client.current import current_stage, within_stage
from agentserve.client.notices import Notice, path
from agentserve.client.retries import Retries
from agentserve.client.wrap import wrap

DEFAULT_URL = "http://127.0.0.1:8000"

_TIMEOUT = httpx.Timeout(None, connect=10.0)  # an answer takes as long as it takes, and the gateway says when it failed
_LIMITS = httpx.Limits(max_connections=None, keepalive_expiry=2.0)  # servers close idle connections after 5 s

Messages = str | Sequence[dict[str, Any]]
Sdk = TypeVar("Sdk")


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is known of the calls that come after one, and beside it.

    Attributes:
        calls: calls on the longest chain from this one on, itself included.
        siblings: other calls of the program that are sent together with it, so that it enters where all of them fit.
        join: a later call needs this one's answer together with those of others, so that KV is kept for it.
    """

    calls: int | None = None
    siblings: int = 0
    join: bool = False

    def headers(self) -> dict[str, str]:
        """The same as headers of a request."""
        said = {} if self.calls is None else {"x-agentserve-remaining-calls": str(self.calls)}
        if self.siblings:
            said["x-agentserve-siblings"] = str(self.siblings)
        if self.join:
            said["x-agentserve-join"] = "true"
        return said


@dataclass(slots=True)
class Timing:
    """How long a program's runs of one tool took."""

    runs: int = 0
    seconds: float = 0.0


class ProgramBase:
    """One agent run: its identity, its stages and its tools."""

    def __init__(
        self,
        tell: Callable[[str, Notice], None],
        base_url: str,
        name: str | None,
        workflow: str | None,
        parent: str | None,
        deadline: float | None,
    ) -> None:
        self.id = name or uuid.uuid4().hex
        self.workflow = workflow
        self.tools: dict[str, Timing] = {}
        """What its tools took, by their names."""
        self._tell = tell
        self._base_url = base_url
        self._fixed = {"x-agentserve-program": self.id}
        if workflow:
            self._fixed["x-agentserve-workflow"] = workflow
        if parent:
            self._fixed["x-agentserve-parent"] = parent
        self._deadline = None if deadline is None else time.monotonic() + deadline
        self._tools_running = 0
        self._lock = threading.Lock()

    @property
    def left(self) -> float | None:
        """Seconds until its deadline, negative after it; None if it has none."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def headers(self, stage: str | None = None, final: bool = False, ahead: Ahead | None = None) -> dict[str, str]:
        """The headers that make a request the program's next call.

        `stage` names the step of the workflow, that of the `stage` block if it is left out; `final` says that it is
        the last call, so that nothing is kept for another; `ahead` what is known of later ones. A deadline counts down
        from the program's start.
        """
        headers = dict(self._fixed)
        if stage := stage or current_stage(self.id):
            headers["x-agentserve-stage"] = stage
        if final:
            headers["x-agentserve-final"] = "true"
        if (left := self.left) is not None:
            headers["x-agentserve-deadline-ms"] = str(max(1, round(left * 1000)))
        return headers if ahead is None else headers | ahead.headers()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A block whose calls are of that stage, wrapped clients' calls too."""
        return within_stage(self.id, name)

    def hint(self, *, remaining_calls: int | None = None, expected_gap: float | None = None) -> None:
        """Tells the gateway, in the background, how many calls are left, or how many seconds the present gap lasts."""
        said = {"remaining_calls": remaining_calls, "expected_gap": expected_gap}
        self._tell(self.id, {name: value for name, value in said.items() if value is not None})

    @contextmanager
    def running(self, tool: str) -> Iterator[None]:
        """A block in which a tool runs: it is timed, and the gateway is told, in the background, when it begins and ends.

        Of tools that run at the same time, the end of the last is told.
        """
        with self._lock:
            self._tools_running += 1
        self._tell(self.id, {"tool_started": tool})
        began = time.monotonic()
        try:
            yield
        finally:
            self._ran(tool, time.monotonic() - began)

    def _ran(self, tool: str, seconds: float) -> None:
        with self._lock:
            timing = self.tools.setdefault(tool, Timing())
            timing.runs += 1
            timing.seconds += seconds
            self._tools_running -= 1
            last = not self._tools_running
        if last:
            self._tell(self.id, {"tool_ended": True})

    def wrap(self, sdk: Sdk) -> Sdk:
        """A copy of a client of the `openai` or `anthropic` package whose calls go to this gateway, as this program's.

        The client itself is left as it is; its API key goes along.

        Raises:
            TypeError: it is no client of these packages.
        """
        return wrap(sdk, self._base_url, self.headers)

    def _child_deadline(self, deadline: float | None) -> float | None:
        known = [seconds for seconds in (self.left, deadline) if seconds is not None]
        return min(known, default=None)

    def _call(
        self, http: httpx.Client | httpx.AsyncClient, headers: dict[str, str], fields: dict[str, Any]
    ) -> httpx.Request:
        return http.build_request(
            "POST", "/v1/chat/completions", json=fields, headers=httpx.Headers(headers, encoding="utf-8")
        )

    def _end(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        return http.build_request("DELETE", path(self.id))

    def _pause(self, retries: Retries, response: httpx.Response, attempt: int) -> float | None:
        return retries.pause(response.status_code, response.headers, attempt, self.left)


def body(messages: Messages, fields: dict[str, Any]) -> dict[str, Any]:
    """The body of a call; a text is one message of the user.

    Raises:
        ValueError: `fields` ask for a stream.
    """
    if fields.get("stream"):
        raise ValueError("chat() returns whole answers; use stream(), or pass program.headers() to another client")
    asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return {"messages": asked, **fields}


def options(base_url: str, api_key: str | None) -> dict[str, Any]:
    """What an httpx client of the gateway is made with. The base URL may be one for OpenAI's clients."""
    root = base_url.rstrip("/").removesuffix("/v1")
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    return {"base_url": root, "headers": headers, "timeout": _TIMEOUT, "limits": _LIMITS}
