"""The engine that is measured: what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from pydantic import BaseModel

from agentserve.engines import metrics
from agentserve.engines.base import EngineError
from agentserve.engines.http import HttpLeg, read
from agentserve.engines.probe import FALLBACK_MODEL_LEN
from scheduler.types import Tokens


class _Model(BaseModel):
    id: str
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine that is idle. None stands for what it does not tell."""

    model: str
    max_model_len: Tokens
    block_size: Tokens | None
    num_blocks: int | None

    @property
    def kv_tokens(self) -> Tokens:
        """Its KV memory; one longest context where it does not tell."""
        if self.block_size is None or self.num_blocks is None:
            return self.max_model_len
        return self.num_blocks * self.block_size


async def examine(leg: HttpLeg, model: str | None) -> Subject:
    """Asks an engine what it is; without a name, for the first model it serves.

    Raises:
        EngineError: it does not answer, does not serve the model, or is busy.
    """
    served = read(leg.engine, await leg.get("/v1/models"), _Models).data
    chosen = next((card for card in served if model in (None, card.id)), None)
    if chosen is None:
        names = ", ".join(card.id for card in served) or "nothing"
        raise EngineError(f"the engine at {leg.url} serves {names}, not {model}: name what it serves with --model")
    scrape = await _scrape(leg)
    if scrape is not None and scrape.running + scrape.waiting:
        raise EngineError(
            f"the engine at {leg.url} has {scrape.running + scrape.waiting} requests; measure it while it is idle"
        )
    told = scrape is not None and scrape.blocks is not None
    return Subject(
        chosen.id,
        chosen.max_model_len or FALLBACK_MODEL_LEN,
        scrape.block_size if scrape else None,
        scrape.blocks - 1 if told and scrape and scrape.blocks else None,
    )


async def _scrape(leg: HttpLeg) -> metrics.Scrape | None:
    answer = await leg.get("/metrics")
    if answer.status_code != httpx.codes.OK:
        return None
    try:
        return metrics.read(answer.text)
    except ValueError:
        return None
