"""A model that answers each stage as it is told, behind a transport that keeps what was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from agentserve.client import AsyncClient

ENGINE = "fast"


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it came."""

    stage: str
    headers: Mapping[str, str]
    body: Mapping[str, object]

    @property
    def prompt(self) -> str:
        messages = self.body["messages"]
        assert isinstance(messages, list)
        return "\n".join(str(message["content"]) for message in messages)

    @property
    def template(self) -> str:
        messages = self.body["messages"]
        assert isinstance(messages, list)
        return str(messages[0]["content"])


@dataclass(slots=True)
class Model:
    """Answers the n-th call of a stage by the n-th of its answers, and further ones by the last."""

    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ended: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.ended += 1
            return httpx.Response(200, json={})
        stage = request.headers["x-agentserve-stage"]
        answers = self.answers.get(stage, ("",))
        text = answers[min(self.stages.count(stage), len(answers) - 1)]
        self.asked.append(Asked(stage, request.headers, json.loads(request.content)))
        if text == "FAIL":
            return httpx.Response(503, json={"error": {"message": "no engine is left"}})
        usage = {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        headers = {"x-agentserve-engine": ENGINE, "x-agentserve-queue-ms": "250"}
        return httpx.Response(200, json={"choices": [choice], "usage": usage}, headers=headers)

    @property
    def stages(self) -> list[str]:
        return [asked.stage for asked in self.asked]

    def of(self, stage: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.stage == stage]

    def client(self) -> AsyncClient:
        client = AsyncClient("http://gateway")
        client._http._transport = httpx.MockTransport(self)
        return client
