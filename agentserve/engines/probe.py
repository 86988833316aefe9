"""Finding out what an engine is and can do. What it lacks makes it a smaller set, told in one line each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import httpx
from pydantic import BaseModel

from agentserve.engines import metrics
from agentserve.engines.arguments import DATA_PARALLEL_REFUSED
from agentserve.engines.base import EngineError, Progress
from agentserve.engines.http import HttpLeg, read
from scheduler.types import EngineSpec, Tokens

PLUGIN_PATH = "/agentserve/v1/plugin"

FALLBACK_MODEL_LEN = 131_072
"""Tokens of context for an engine that does not tell its limit: long enough that we refuse nothing it might take."""

FALLBACK_CONTEXTS = 4
"""Full contexts that we suppose to fit into the KV memory of an engine that does not tell its size."""

FALLBACK_BLOCK_SIZE = 16
"""Tokens a block, as most engines have it."""

FALLBACK_SEQS = 256
"""Calls at once of an engine that does not tell how many it runs. vLLM's own default depends on the GPU: 256, or 1,024."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an engine from elsewhere, because it does not tell it over HTTP."""

    model: str
    """The name it has to serve."""
    kv_tokens: Tokens | None = None
    """Used where the engine does not report its own."""
    priority: bool = False
    max_num_seqs: int | None = None
    """How many calls it runs at once; else what the plugin says, or `FALLBACK_SEQS`."""
    speed: float | None = None
    """Prompt tokens that it prefills in a second."""


class ModelCard(BaseModel):
    """A model that an engine serves."""

    id: str
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[ModelCard]


class _Plugin(BaseModel):
    plugin: Literal["agentserve"]
    tail_scoring: bool = False
    """Ones of before do not tell, and cannot."""
    max_num_seqs: int | None = None
    """Ones of before do not tell."""


async def probe(leg: HttpLeg, known: Known, progress: Progress) -> EngineSpec:
    """Asks an engine what it is, and says through `progress` what it lacks.

    Raises:
        EngineError: it does not answer, does not serve the model, or is of a kind that cannot be served.
    """
    models = await _models(leg, known)
    max_model_len = max((model.max_model_len or 0 for model in models), default=0) or FALLBACK_MODEL_LEN
    scrape = await scraped(leg)
    plugin = await _plugin(leg)
    spec = EngineSpec(
        models=tuple(model.id for model in models),
        kv_tokens=(scrape and scrape.kv_tokens) or known.kv_tokens or FALLBACK_CONTEXTS * max_model_len,
        block_size=(scrape and scrape.block_size) or FALLBACK_BLOCK_SIZE,
        max_model_len=max_model_len,
        max_num_seqs=known.max_num_seqs or (plugin and plugin.max_num_seqs) or FALLBACK_SEQS,
        retention=plugin is not None,
        tail_scoring=plugin is not None and plugin.tail_scoring,
        priority=known.priority,
    )
    if known.speed is not None:
        spec = replace(spec, prefill_tokens_per_s=known.speed)
    for lack in _lacks(spec, scrape, known):
        progress(f"engine {leg.engine} {lack}")
    return spec


def _lacks(spec: EngineSpec, scrape: metrics.Scrape | None, known: Known) -> list[str]:
    lacks = []
    if scrape is None:
        lacks.append("has no vLLM metrics: its load is estimated from what is sent to it")
    if (scrape is None or scrape.kv_tokens is None) and known.kv_tokens is None:
        lacks.append(f"does not tell its KV memory: {spec.kv_tokens} tokens are assumed (set kv_tokens)")
    if not spec.retention:
        lacks.append("runs without the agentserve plugin: KV is not kept through tool calls")
    if not spec.priority:
        lacks.append("is not known to order its queue by priority: order is kept by holding calls back")
    return lacks


async def _models(leg: HttpLeg, known: Known) -> list[ModelCard]:
    models = await served(leg)
    if models is None:
        return [ModelCard(id=known.model)]
    names = [model.id for model in models]
    if known.model not in names:
        told = ", ".join(names) or "nothing"
        raise EngineError(f"engine {leg.engine} serves {told}, not {known.model}: name its pool after what it serves")
    return models


async def served(leg: HttpLeg) -> list[ModelCard] | None:
    """The models that an engine says it serves; None if it has no such route.

    Raises:
        EngineError: it does not answer, or says something else.
    """
    answer = await leg.get("/v1/models")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    return read(leg.engine, answer, _Models).data


async def scraped(leg: HttpLeg) -> metrics.Scrape | None:
    """What an engine's metrics page tells; None if there is none, or not vLLM's.

    Raises:
        EngineError: it does not answer, or is of several ranks.
    """
    answer = await leg.get("/metrics")
    if answer.status_code != httpx.codes.OK:
        return None
    try:
        scrape = metrics.read(answer.text)
    except ValueError:
        return None
    if scrape is not None and len(scrape.ranks) > 1:
        raise EngineError(f"engine {leg.engine} cannot be served: {DATA_PARALLEL_REFUSED}")
    return scrape


async def _plugin(leg: HttpLeg) -> _Plugin | None:
    answer = await leg.get(PLUGIN_PATH)
    try:
        return read(leg.engine, answer, _Plugin)
    except EngineError:
        return None
