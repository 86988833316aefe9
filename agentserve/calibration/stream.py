"""One streamed completion, with the time at which each of its tokens came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from agentserve.engines.base import EngineError, Reply
from scheduler.types import Seconds, Tokens

PATH = "/v1/completions"
LEAST_EVENTS = 0.8
"""Events a token, below which steps cannot be told apart. An engine whose server falls behind joins tokens of two steps
now and then, and some servers send one more event at the end."""

SEVERAL = 8
"""Tokens that never come at one time where they are sent as they are made."""

_HEADERS = {"content-type": "application/json"}


class _Details(BaseModel):
    cached_tokens: Tokens | None = None


class _Usage(BaseModel):
    prompt_tokens: Tokens
    completion_tokens: Tokens
    prompt_tokens_details: _Details | None = None


class _Event(BaseModel):
    choices: list[JsonValue] = []
    usage: _Usage | None = None
    error: JsonValue = None


@dataclass(slots=True)
class Stream:
    """What is known of one exchange so far; times are the event loop's."""

    sent: Seconds = 0.0
    times: list[Seconds] = field(default_factory=list)
    """When each token came."""
    prompt: Tokens = 0
    output: Tokens = 0
    cached: Tokens | None = None
    """Prompt tokens from the cache; None where the engine does not tell."""

    @property
    def ttft(self) -> Seconds:
        """From sending to the first token."""
        return self.times[0] - self.sent


class Leg(Protocol):
    """The way to an engine (`agentserve.engines.http.HttpLeg`)."""

    url: str

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """POSTs a body and returns at the answer's head. Raises `EngineError` if none comes."""
        ...


class Completions:
    """A client of one engine and one model."""

    def __init__(self, leg: Leg, model: str) -> None:
        self._leg = leg
        self._model = model

    async def run(self, prompt: str, output: Tokens, under_way: asyncio.Event | None = None, after: int = 1) -> Stream:
        """Has `output` tokens written, whatever they say; sets `under_way` when `after` of them have come.

        Raises:
            EngineError: the answer is an error, breaks off, is of another length, or has too few events.
        """
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": output,
            "min_tokens": output,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        stream = Stream(sent=asyncio.get_running_loop().time())
        reply = await self._leg.open(PATH, _HEADERS, json.dumps(body).encode())
        try:
            chunks = reply.chunks()
            if reply.status != httpx.codes.OK:
                text = b"".join([chunk async for chunk in chunks])[:300].decode(errors="replace")
                raise EngineError(f"the engine at {self._leg.url} refused a request with status {reply.status}: {text}")
            rest = b""
            async for chunk in chunks:
                now = asyncio.get_running_loop().time()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._read(line.strip(), stream, now)
                if under_way is not None and len(stream.times) >= after:
                    under_way.set()
        finally:
            await reply.aclose()
        self._check(stream, output)
        return stream

    def _check(self, stream: Stream, output: Tokens) -> None:
        if stream.output != output:
            raise EngineError(
                f"the engine at {self._leg.url} reported {stream.output} tokens of {output}: it has to report usage in "
                "streams, and to know ignore_eos and min_tokens"
            )
        if len(stream.times) < LEAST_EVENTS * output:
            raise EngineError(
                f"the engine at {self._leg.url} sent {output} tokens in {len(stream.times)} events: its steps cannot be "
                "timed from outside"
            )
        if output >= SEVERAL and stream.times[0] == stream.times[-1]:
            raise EngineError(
                f"the engine at {self._leg.url} sent {output} tokens at one and the same time: something between it and "
                "here collects its answers, so that its steps cannot be timed from outside"
            )

    def _read(self, line: bytes, stream: Stream, now: Seconds) -> None:
        data = line.removeprefix(b"data:").strip()
        if data == line or data == b"[DONE]":
            return
        try:
            event = _Event.model_validate_json(data)
        except ValidationError as error:
            raise EngineError(f"the engine at {self._leg.url} sent no event of a completion: {data[:200]!r}") from error
        if event.error is not None:
            raise EngineError(f"the engine at {self._leg.url} gave up a request: {event.error}")
        if event.choices:
            stream.times.append(now)
        if event.usage is not None:
            stream.prompt, stream.output = event.usage.prompt_tokens, event.usage.completion_tokens
            details = event.usage.prompt_tokens_details
            stream.cached = details.cached_tokens if details else None
