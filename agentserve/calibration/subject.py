"""The engine that is measured: what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from agentserve.engines.base import EngineError
from agentserve.engines.http import HttpLeg
from agentserve.engines.probe import FALLBACK_MODEL_LEN, scraped, served
from scheduler.types import Tokens


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
    cards = await served(leg) or []
    chosen = next((card for card in cards if model in (None, card.id)), None)
    if chosen is None:
        names = ", ".join(card.id for card in cards) or "nothing"
        raise EngineError(f"the engine at {leg.url} serves {names}, not {model}: name what it serves with --model")
    scrape = await scraped(leg)
    if scrape is not None and scrape.running + scrape.waiting:
        raise EngineError(
            f"the engine at {leg.url} has {scrape.running + scrape.waiting} requests; measure it while it is idle"
        )
    blocks = None if scrape is None or scrape.blocks is None else scrape.blocks - 1
    length = chosen.max_model_len or FALLBACK_MODEL_LEN
    return Subject(chosen.id, length, None if scrape is None else scrape.block_size, blocks)
