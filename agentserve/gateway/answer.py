"""What an engine's answer says about itself: its usage, the tools it calls, the name it goes by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.types import Tokens, Usage


class BadAnswerError(Exception):
    """An engine answered something that is not of the API. The message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is read of a whole answer."""

    usage: Usage | None
    tools: tuple[str, ...]
    response: str = ""
    """The id by which a later call may refer to it, where the protocol has such."""


def whole_answer(data: bytes, holding: str) -> Mapping[str, object]:
    """The JSON of a whole answer, which has a list of that name.

    Raises:
        BadAnswerError: it is not a JSON object with that list.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise BadAnswerError(f"it answered no JSON: {data[:100]!r}") from None
    if not isinstance(answer, dict) or not isinstance(answer.get(holding), list):
        raise BadAnswerError(f"it answered JSON without {holding}: {data[:100]!r}")
    return answer


def read_usage(value: object, prompt: str, output: str, details: str) -> Usage | None:
    """A usage object of OpenAI's APIs, whose names are given; None if it is not there or lacks a count."""
    if not isinstance(value, Mapping):
        return None
    prompts, outputs, more = count(value.get(prompt)), count(value.get(output)), value.get(details)
    if prompts is None or outputs is None:
        return None
    return Usage(prompts, outputs, count(more.get("cached_tokens")) if isinstance(more, Mapping) else None)


def count(value: object) -> Tokens | None:
    """A number of tokens, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
