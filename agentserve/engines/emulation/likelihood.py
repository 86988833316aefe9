"""Log-probabilities of the emulated engine: made up, and always the same for the same text."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from hashlib import blake2b

from pydantic import JsonValue

from agentserve.engines.emulation.text import filler
from agentserve.engines.emulation.wires.base import Json
from scheduler.types import Tokens

JUDGED = 0.98
"""The probability that an answer begins with yes or no."""


def of_answer(pieces: Sequence[str], seed: str, alternatives: int) -> list[Json]:
    """Of each output token, with so many likelier ones: yes and no first, as if a question had been asked."""
    rng = random.Random(f"answer {seed}")
    return [_told(piece, rng, alternatives) for piece in pieces]


def of_prompt(tokens: Sequence[bytes], tail: Tokens | None) -> list[JsonValue]:
    """Of a prompt's tokens, those of its last `tail` if that is given. The first of all has none."""
    first = 1 if tail is None else max(1, len(tokens) - tail)
    return [None, *(_scored(tokens, position) for position in range(first, len(tokens)))]


def _told(piece: str, rng: random.Random, alternatives: int) -> Json:
    return {**_entry(piece, -rng.uniform(0.0, 3.0)), "top_logprobs": _alternatives(rng, alternatives)}


def _alternatives(rng: random.Random, count: int) -> list[JsonValue]:
    if not count:
        return []
    yes = rng.uniform(0.01, 0.99)
    likely = [("yes", JUDGED * yes), ("no", JUDGED * (1 - yes))]
    others = filler(max(1, count - 2), str(yes))
    listed = [*likely, *((word.strip(), (1 - JUDGED) / len(others)) for word in others)][:count]
    return [_entry(token, math.log(share)) for token, share in listed]


def _entry(token: str, logprob: float) -> Json:
    return {"token": token, "logprob": logprob, "bytes": [*token.encode()]}


def _scored(tokens: Sequence[bytes], position: int) -> Json:
    before = b"".join(tokens[max(0, position - 8) : position + 1])
    logprob = -6.0 * int.from_bytes(blake2b(before, digest_size=4).digest()) / 2**32
    text = tokens[position].decode(errors="ignore")
    return {str(int.from_bytes(tokens[position])): {"logprob": logprob, "rank": 1, "decoded_token": text}}
