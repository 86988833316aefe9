"""One engine's change of weights: what an engine is asked, and what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import JsonValue

from agentserve.engines.base import Engine, EngineError
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.exchange import ask
from agentserve.vllm_plugin.weights import Weights
from scheduler.types import Seconds

WEIGHTS_PATH = "/agentserve/v1/weights"
BUSY_PAUSE: Seconds = 0.05
"""Between two questions to an engine whose aborted requests are still on their way out."""
RELAYED = (
    "/init_weight_transfer_engine",
    "/start_weight_update",
    "/update_weights",
    "/finish_weight_update",
    "/update_weight_version",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/sleep",
    "/wake_up",
)
"""vLLM's own routes for weights that may be relayed to an engine (it serves them with VLLM_SERVER_DEV_MODE=1)."""


class UpdateError(Exception):
    """An engine did not take the weights. `unchanged` if it has surely kept the old ones."""

    def __init__(self, message: str, *, unchanged: bool) -> None:
        super().__init__(message)
        self.unchanged = unchanged


@dataclass(frozen=True, slots=True)
class Step:
    """A request to one of the `RELAYED` routes."""

    path: str
    body: JsonValue = None


@dataclass(frozen=True, slots=True)
class Update:
    """A version, and how an engine gets it: from a folder, by requests that are relayed, or it has it already."""

    version: int
    path: str | None = None
    steps: Sequence[Step] = ()


async def carry_out(engine: Engine, update: Update) -> None:
    """Gives an idle engine the weights, and has its cache emptied.

    Raises:
        UpdateError: it did not take them.
    """
    try:
        for step in update.steps:
            reply, data = await ask(engine, step.path, json.dumps(step.body).encode())
            if reply.status != HTTPStatus.OK:
                raise UpdateError(f"{step.path}: {_said(reply.status, data)}", unchanged=False)
        await _load(engine, Weights(update.version, update.path))
    except (EngineError, BadAnswerError) as error:
        raise UpdateError(str(error), unchanged=False) from error


async def _load(engine: Engine, weights: Weights) -> None:
    while True:
        reply, data = await ask(engine, WEIGHTS_PATH, weights.to_json().encode())
        match reply.status:
            case HTTPStatus.OK:
                return
            case HTTPStatus.CONFLICT:
                await asyncio.sleep(BUSY_PAUSE)
            case HTTPStatus.NOT_FOUND:
                message = (
                    f"engine {engine.name} runs without the agentserve plugin, which loads weights and empties caches"
                )
                raise UpdateError(message, unchanged=True)
            case _:
                raise UpdateError(_said(reply.status, data), unchanged=_unchanged(data))


def _said(status: int, data: bytes) -> str:
    return f"it answered with status {status}: {data[:500].decode(errors='replace')}"


def _unchanged(data: bytes) -> bool:
    try:
        answer = json.loads(data)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("unchanged") is True
