"""Lines in the log for each call: one without any text when it has ended; its request, only if somebody asks for it."""

from __future__ import annotations

import logging

from agentserve.gateway.lives import Life, Watcher
from scheduler.types import CallId, Seconds

PROMPTS = "agentserve.prompts"
"""The logger of whole requests. Silent unless it has the level INFO of its own."""

logger = logging.getLogger("agentserve.calls")
_prompts = logging.getLogger(PROMPTS)


def log_prompt(call: CallId, body: str) -> None:
    """Writes down a whole request, if somebody has asked for that."""
    if _prompts.level == logging.INFO:
        _prompts.info("%s", body, extra={"fields": {"call": call}})


class CallLines(Watcher):
    """Writes them."""

    def call_ended(self, life: Life) -> None:
        """Writes one."""
        arrival, dispatch, usage = life.arrival, life.dispatch, life.usage
        fields: dict[str, object] = {
            "call": arrival.call,
            "program": arrival.program.program,
            "tenant": arrival.program.tenant,
            "model": arrival.model,
            "workflow": arrival.workflow,
            "stage": arrival.stage,
            "status": life.status.value,
            "reason": life.reason,
            "engine": None if dispatch is None else dispatch.engine,
            "why": None if dispatch is None else dispatch.why.value,
            "attempts": life.attempts,
            "queue_ms": _ms(life.queued),
            "ttft_ms": None if life.first_token is None else _ms(life.first_token - arrival.at),
            "total_ms": _ms(life.ended - arrival.at),
            "prompt_tokens": None if usage is None else usage.prompt,
            "cached_tokens": None if usage is None else usage.cached,
            "output_tokens": None if usage is None else usage.output,
            "tools": list(life.tools),
        }
        told = {name: value for name, value in fields.items() if value not in (None, "", [])}
        logger.info(
            "call %s of %s %s after %.3f s",
            arrival.call,
            arrival.program,
            life.status.value,
            life.ended - arrival.at,
            extra={"fields": told},
        )


def _ms(seconds: Seconds) -> float:
    return round(seconds * 1000, 1)
