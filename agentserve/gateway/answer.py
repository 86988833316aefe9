"""What an engine's answer says about itself: its usage, the tools it calls."""

from __future__ import annotations

import json
from collections.abc import Mapping

from scheduler.types import Tokens, Usage
from tools.calls import openai_tools, text_tools


class BadAnswerError(Exception):
    """An engine answered something that is not of the API. The message says what."""


def read_usage(value: object) -> Usage | None:
    """OpenAI's usage object; None if it is not there or lacks a count."""
    if not isinstance(value, Mapping):
        return None
    prompt, output = _count(value.get("prompt_tokens")), _count(value.get("completion_tokens"))
    if prompt is None or output is None:
        return None
    details = value.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return Usage(prompt, output, cached)


def read_answer(data: bytes) -> tuple[Usage | None, tuple[str, ...]]:
    """The usage of a whole answer, and the tools its first choice calls.

    Raises:
        BadAnswerError: it is not a JSON object with choices.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswerError(f"it answered no JSON: {data[:100]!r}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
        raise BadAnswerError(f"it answered JSON without choices: {data[:100]!r}")
    return read_usage(answer.get("usage")), _tools(answer["choices"])


def _tools(choices: list[object]) -> tuple[str, ...]:
    first = choices[0] if choices else None
    if not isinstance(first, Mapping):
        return ()
    text = first.get("text")
    return text_tools(text) if isinstance(text, str) else openai_tools(first.get("message"))


def _count(value: object) -> Tokens | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
