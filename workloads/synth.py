"""Prompt text whose length in tokens is close to the asked one and whose shared prefixes are real.

All text is common words drawn by a seed that names what the text is for: the same prefix id gives the same bytes, and
two programs share nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypedDict

import httpx
from pydantic import BaseModel

from workloads.program import Call, Program, SharedPrefix, Tokens
from workloads.words import WORDS

_CALIBRATION_WORDS = 1000
_OWN_SYSTEM_TOKENS: Tokens = 24


class Message(TypedDict):
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """How words become tokens.

    The defaults are measured: each word of the list is one token of SmolLM2's and of Mistral's (Tekken) vocabularies,
    and a chat template of ChatML's kind puts five tokens around a message. `calibrate` measures another model's.
    """

    tokens_per_word: float = 1.0
    tokens_per_message: float = 5.0

    def words(self, tokens: Tokens, messages: int = 0) -> int:
        """How many words make `tokens` tokens together with the marks around `messages` messages; at least one."""
        return max(1, round((tokens - messages * self.tokens_per_message) / self.tokens_per_word))


DEFAULT_RATIO = Ratio()


def text(seed: str, words: int) -> str:
    """The first `words` words of the endless text named by the seed."""
    return " ".join(Random(seed).choices(WORDS, k=words))


def opening(program: Program, call: Call, ratio: Ratio = DEFAULT_RATIO) -> tuple[Message, ...]:
    """The prompt of a call that starts afresh: a system message, the shared texts if any, and a user message.

    There always is a system message, because many chat templates insert a default one, which all programs would share.
    """
    if not call.prefix:
        own = min(_OWN_SYSTEM_TOKENS, call.new_tokens // 2)
        system = text(f"system/{program.id}/{call.id}", ratio.words(own, messages=1))
        task = call.new_tokens - own
    else:
        system = " ".join(_shared_texts(call.prefix, ratio))
        task = call.new_tokens
    return (
        Message(role="system", content=system),
        Message(role="user", content=_own_text(program, call, ratio.words(task, messages=2))),
    )


def _shared_texts(prefix: Sequence[SharedPrefix], ratio: Ratio) -> Iterator[str]:
    """The texts of a prefix; the marks around the message are charged to the first."""
    for index, shared in enumerate(prefix):
        yield text(f"prefix/{shared.id}", ratio.words(shared.tokens, messages=0 if index else 1))


def result(program: Program, call: Call, ratio: Ratio = DEFAULT_RATIO) -> Message:
    """What a call adds to its context's history, which ends with the model's answer.

    It is a tool's result as a user message, which every chat template knows, unlike the role `tool`. The marks around
    the answer are charged to it.
    """
    return Message(role="user", content=_own_text(program, call, ratio.words(call.new_tokens, messages=2)))


def _own_text(program: Program, call: Call, words: int) -> str:
    return text(f"call/{program.id}/{call.id}", words)


class _Tokenized(BaseModel):
    count: int


async def calibrate(url: str, model: str) -> Ratio:
    """Measures a model's ratio with vLLM's POST /tokenize at the base URL (without /v1).

    Raises:
        httpx.HTTPError: the server did not answer, or has no such route.
    """
    sample = text("calibration", _CALIBRATION_WORDS)
    one = [Message(role="user", content=sample)]
    answered = [*one, Message(role="assistant", content=sample), Message(role="user", content=sample)]
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        words = await _count(client, {"model": model, "prompt": sample, "add_special_tokens": False})
        short = await _count(client, {"model": model, "messages": one})
        long = await _count(client, {"model": model, "messages": answered})
    return Ratio(words / _CALIBRATION_WORDS, max(0.0, (long - short) / 2 - words))


async def _count(client: httpx.AsyncClient, body: dict[str, object]) -> Tokens:
    response = await client.post("/tokenize", json=body)
    response.raise_for_status()
    return _Tokenized.model_validate_json(response.content).count
