"""One streamed chat completion: send it, read its events, and keep what came back and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
from pydantic import BaseModel, JsonValue

from workloads.program import Seconds, Tokens

_DATA = "data:"
_DONE = "[DONE]"
_ERROR_LENGTH = 500


class _Choice(BaseModel):
    delta: dict[str, JsonValue] = {}
    finish_reason: str | None = None

    @property
    def content(self) -> str:
        content = self.delta.get("content")
        return content if isinstance(content, str) else ""

    @property
    def has_token(self) -> bool:
        return any(value for key, value in self.delta.items() if key != "role")


class _PromptDetails(BaseModel):
    cached_tokens: Tokens | None = None


class _Usage(BaseModel):
    prompt_tokens: Tokens
    completion_tokens: Tokens = 0
    prompt_tokens_details: _PromptDetails | None = None


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: JsonValue = None


class BadAnswerError(Exception):
    """The server's answer is an error, or is not what the protocol says. The message is for the call's record."""


@dataclass(slots=True)
class Exchange:
    """What is known of one exchange so far. Times are on the clock that `run` is given."""

    sent_s: Seconds | None = None
    first_token_s: Seconds | None = None
    finish_s: Seconds | None = None
    pieces: list[str] = field(default_factory=list)
    complete: bool = False
    """A finish reason has come."""
    prompt_tokens: Tokens | None = None
    cached_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    engine: str | None = None
    queue_s: Seconds | None = None
    why: str | None = None
    error: str | None = None

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(self.pieces)

    async def run(
        self,
        client: httpx.AsyncClient,
        headers: Mapping[str, str],
        body: Mapping[str, object],
        now: Callable[[], Seconds],
        on_first_token: Callable[[], None],
    ) -> None:
        """POSTs the body to /v1/chat/completions and reads the stream to its end.

        A failure is left in `error`, never raised; when cancelled, what is known stays.
        """
        self.sent_s = now()
        try:
            async with client.stream("POST", "/v1/chat/completions", headers=dict(headers), json=body) as response:
                await self._read(response, now, on_first_token)
        except (httpx.HTTPError, BadAnswerError, ValueError) as error:
            self.error = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]

    async def _read(
        self, response: httpx.Response, now: Callable[[], Seconds], on_first_token: Callable[[], None]
    ) -> None:
        if response.status_code != httpx.codes.OK:
            text = (await response.aread()).decode(errors="replace")
            raise BadAnswerError(f"HTTP {response.status_code}: {text}")
        self._note_headers(response.headers)
        async for line in response.aiter_lines():
            data = line.removeprefix(_DATA).strip() if line.startswith(_DATA) else ""
            if not data or data == _DONE:
                continue
            waiting = self.first_token_s is None
            self._note_chunk(_Chunk.model_validate_json(data), now())
            if waiting and self.first_token_s is not None:
                on_first_token()
        if not self.complete:
            raise BadAnswerError("the stream ended before the answer was finished")
        self.finish_s = now()

    def _note_headers(self, headers: Mapping[str, str]) -> None:
        self.engine = headers.get("x-agentserve-engine")
        self.why = headers.get("x-agentserve-why")
        queue_ms = headers.get("x-agentserve-queue-ms")
        self.queue_s = None if queue_ms is None else float(queue_ms) / 1000

    def _note_chunk(self, chunk: _Chunk, at: Seconds) -> None:
        if chunk.error is not None:
            raise BadAnswerError(f"error in the stream: {chunk.error}")
        if chunk.usage is not None:
            self._note_usage(chunk.usage)
        for choice in chunk.choices:
            self.pieces.append(choice.content)
            self.complete = self.complete or choice.finish_reason is not None
            if self.first_token_s is None and (choice.has_token or self.complete):
                self.first_token_s = at

    def _note_usage(self, usage: _Usage) -> None:
        self.prompt_tokens = usage.prompt_tokens
        self.output_tokens = usage.completion_tokens
        details = usage.prompt_tokens_details
        self.cached_tokens = None if details is None else details.cached_tokens
