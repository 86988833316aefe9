"""The routes of rollouts, under `/agentserve/v1/rollouts`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from agentserve.config import Limits
from agentserve.gateway.control import operator
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError, unknown_model
from agentserve.gateway.faults.drain import Drain
from agentserve.gateway.rollouts.ground import Ground, Mode
from agentserve.gateway.rollouts.groups import Group
from agentserve.gateway.rollouts.sample import Order, Sample
from agentserve.gateway.rollouts.update import RELAYED, Step, Update
from agentserve.gateway.tenants.door import Visitor
from scheduler.types import Seconds

PREFIX = "/agentserve/v1/rollouts"
TokenId = Annotated[int, Field(ge=0, lt=2**32)]
OWN = frozenset(
    {"model", "prompt", "max_tokens", "stream", "stream_options", "return_token_ids", "logprobs", "n", "echo"}
)
"""Parameters of a completion that are the gateway's to set."""


GIVEN: dict[str, JsonValue] = {"not": {"type": "null"}, "minLength": 1, "minItems": 1}
LEFT_OUT: dict[str, JsonValue] = {"type": "null"}
ONE_PROMPT: list[JsonValue] = [
    {"required": ["prompt"], "properties": {"prompt": GIVEN, "messages": LEFT_OUT}},
    {"required": ["messages"], "properties": {"prompt": LEFT_OUT, "messages": {"not": {"type": "null"}}}},
]


class GroupBody(BaseModel):
    """A group of samples of one prompt, which is a text, tokens, or a chat."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"oneOf": ONE_PROMPT})

    model: str
    prompt: str | list[TokenId] | None = None
    messages: list[dict[str, JsonValue]] | None = None
    tools: list[dict[str, JsonValue]] | None = None
    n: int = Field(1, ge=1, le=4096)
    max_tokens: int = Field(ge=1)
    sampling: dict[str, Any] = Field(
        default_factory=dict,
        description="Further parameters, as vLLM's completions take them.",
        json_schema_extra={"propertyNames": {"not": {"enum": [*sorted(OWN)]}}},
    )
    group: str = Field("", max_length=200, description="Its name, for aborting it; one is chosen where it is left out.")
    workflow: str = Field("", max_length=256)
    parent: str | None = Field(None, max_length=256)
    goes_on: bool = Field(
        False, description="More calls of its programs come: their KV is kept, and they are not ended."
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either 'prompt' or 'messages'")
        if self.prompt in ("", []):
            raise ValueError("the prompt is empty")
        if taken := sorted(self.sampling.keys() & OWN):
            raise ValueError(f"sampling.{taken[0]} is set by the gateway")
        return self


class PauseBody(BaseModel):
    """Which model, what becomes of what runs, and for how many seconds to wait until nothing does."""

    model_config = ConfigDict(extra="forbid")

    model: str
    mode: Mode = Mode.WAIT
    timeout: Seconds = Field(60.0, ge=0, allow_inf_nan=False)


class ModelBody(BaseModel):
    """Which model."""

    model_config = ConfigDict(extra="forbid")

    model: str


class AbortBody(ModelBody):
    """Which groups; all of the model where none is named."""

    groups: list[str] | None = None


class StepBody(BaseModel):
    """A request to one of vLLM's own routes."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(json_schema_extra={"enum": [*RELAYED]})
    body: JsonValue = None


class WeightsBody(ModelBody):
    """A new version, and how engines get it: from a folder (`path`), by `steps` that are relayed to each, or they have it."""

    version: int = Field(ge=0)
    path: str | None = None
    steps: list[StepBody] = Field(default_factory=list)
    drain: Seconds | None = Field(None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for step in self.steps:
            if step.path not in RELAYED:
                raise ValueError(f"{step.path!r} is not relayed; these are: {', '.join(RELAYED)}")
        return self


def rollout_routes(
    driver: Driver, limits: Limits, grounds: Mapping[str, Ground], drains: Mapping[str, Seconds], drain: Drain
) -> APIRouter:
    """The routes over the models' grounds; `drains` is how long each model's updates wait where they do not say.

    `drain` is the gateway's own, which finishes groups too.
    """
    router = APIRouter(prefix=PREFIX)

    def ground_of(model: str) -> Ground:
        if model not in grounds:
            raise unknown_model(model, list(grounds))
        return grounds[model]

    @router.post("/groups", summary="Writes a group of samples; answers when all have ended")
    async def group(request: Request, body: GroupBody) -> JSONResponse:
        visitor: Visitor = request.state.visitor
        ground = ground_of(body.model)
        made = Group(driver, limits, ground, visitor.tenant, body.group, body.workflow, body.parent)
        with drain, visitor.tenant.request(driver.now(), time.time()):
            return await _while_connected(request, _answer(made, ground, body))

    _add_orders(router, ground_of, drains)
    return router


def _add_orders(router: APIRouter, ground_of: Callable[[str], Ground], drains: Mapping[str, Seconds]) -> None:
    operators = [Depends(operator)]

    @router.get("", summary="The models' versions, and what is written", dependencies=operators)
    async def status(model: str) -> dict[str, object]:
        return _status(ground_of(model))

    @router.post("/pause", summary="Begins no call of a model until it is resumed", dependencies=operators)
    async def pause(body: PauseBody) -> dict[str, JsonValue]:
        running = await ground_of(body.model).pause(body.mode, body.timeout)
        return {"paused": True, "running": running}

    @router.post("/resume", summary="Calls begin again", dependencies=operators)
    async def resume(body: ModelBody) -> dict[str, JsonValue]:
        ground_of(body.model).resume()
        return {"paused": False}

    @router.post("/abort", summary="Ends samples with what they have", dependencies=operators)
    async def abort(body: AbortBody) -> dict[str, JsonValue]:
        return {"aborted": ground_of(body.model).abort(body.groups)}

    @router.post("/weights", summary="Gives one engine after another new weights", dependencies=operators)
    async def weights(body: WeightsBody) -> JSONResponse:
        update = Update(body.version, body.path, [Step(step.path, step.body) for step in body.steps])
        drain = drains[body.model] if body.drain is None and body.model in drains else body.drain or 0.0
        changed = await ground_of(body.model).update(update, drain)
        failed = [f"{each.engine}: {each.error}" for each in changed if each.error]
        if failed:
            raise ApiError(
                502, f"version {body.version} is not on all engines: {'; '.join(failed)}", code="update_failed"
            )
        return JSONResponse({"version": body.version, "engines": [asdict(each) for each in changed]})


async def _answer(group: Group, ground: Ground, body: GroupBody) -> JSONResponse:
    prompt = body.prompt if isinstance(body.prompt, list) else await group.tokens(_text(body))
    order = Order(body.model, tuple(prompt), body.max_tokens, body.sampling)
    samples = await group.run(order, body.n, ends=not body.goes_on)
    latest = ground.versions.latest
    return JSONResponse(
        {
            "group": group.name,
            "model": body.model,
            "version": latest,
            "prompt_token_ids": prompt,
            "samples": [_shown(sample, latest) for sample in samples],
        }
    )


def _text(body: GroupBody) -> dict[str, object]:
    if body.prompt is not None:
        return {"prompt": body.prompt}
    return {"messages": body.messages, **({"tools": body.tools} if body.tools else {})}


def _shown(sample: Sample, latest: int) -> dict[str, object]:
    return {
        "program": sample.identity.program.program,
        "text": sample.text,
        "token_ids": sample.ids,
        "logprobs": sample.logprobs,
        "segments": [asdict(segment) for segment in sample.segments],
        "lag": latest - sample.oldest,
        "finish_reason": sample.finish,
        "error": None if sample.error is None else sample.error.message,
    }


def _status(ground: Ground) -> dict[str, object]:
    bound = ground.submitted.bound
    return {
        "model": ground.model,
        "version": ground.versions.latest,
        "engines": {engine: ground.versions.of(engine) for engine in ground.engines},
        "broken": ground.broken,
        "paused": ground.paused,
        "writing": len(ground.samples),
        "submitted": ground.submitted.samples,
        "batch": None if bound is None else bound.batch,
        "lag": None if bound is None else bound.lag,
    }


async def _while_connected(request: Request, work: Coroutine[Any, Any, JSONResponse]) -> JSONResponse:
    """Does the work, and gives it up if the client leaves."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ApiError(499, "the client left")
        return doing.result()
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
