"""What is asked of the models behind a virtual one, and what is read from their answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scheduler.actions import Submit
from scheduler.procedures.base import Stage, Step
from scheduler.types import Tokens

KEPT = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "stop")
"""What the client says about sampling goes to the models that write."""
QUESTION = "Is the reasoning in your last message correct so far? Answer with one word, yes or no."
"""What a target that cannot score tails is asked about a segment: its score is log P(yes) - log P(no)."""
ALTERNATIVES = 20
FLOOR = -20.0
"""The log-probability of a word that is not among the alternatives."""
A_SAMPLE = 1 << 16
"""Seeds that a sample may use."""
MARGIN: Tokens = 8
"""Tokens of a tail beyond what its writer counted."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a step's answer says."""

    text: str
    ended: bool
    prompt_tokens: int
    output_tokens: int
    logprobs: tuple[Mapping[str, Any], ...] = ()
    """Of the tokens written."""
    prompt_logprobs: tuple[Mapping[str, Any] | None, ...] = ()
    """Of the prompt's last tokens: of each, one entry by its id."""


def writing_body(submit: Submit, asked: Mapping[str, Any], text: str) -> bytes:
    """The chat completion of a step that continues `text`, what its sample has so far."""
    body: dict[str, Any] = {"model": submit.model, "max_tokens": submit.max_output, "logprobs": True}
    body |= {name: asked[name] for name in KEPT if name in asked}
    if asked.get("seed") is not None:
        body["seed"] = _seed(asked["seed"], submit.step)
    return json.dumps(body | _continuing(asked["messages"], text)).encode()


def _seed(seed: int, step: Step) -> int:
    """A step's own: under one and the same all samples would be one."""
    return seed + A_SAMPLE * step.sample + 2 * step.turn + (step.stage is Stage.TAKEOVER)


def tail_body(model: str, messages: Sequence[Any], text: str, tokens: Tokens) -> bytes:
    """The chat completion that scores the end of `text`, about `tokens` of its writer's tokens.

    The target's tokens may be others, and some more: what of its answer belongs to the end, `tail_score` finds out.
    """
    tail = tokens + tokens // 4 + MARGIN
    body: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    body |= {"vllm_xargs": {"agentserve_score_tail": tail}}
    return json.dumps(body | _continuing(messages, text)).encode()


def judgement_body(model: str, messages: Sequence[Any]) -> bytes:
    """The chat completion that asks `QUESTION` about the last message."""
    body: dict[str, Any] = {"model": model, "max_tokens": 1, "temperature": 0.0}
    body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
    return json.dumps(body | {"messages": [*messages, {"role": "user", "content": QUESTION}]}).encode()


def written(messages: Sequence[Any], text: str) -> list[Any]:
    """A chat with what a sample has written of its answer so far."""
    return [*messages, {"role": "assistant", "content": text}] if text else [*messages]


def _continuing(messages: Sequence[Any], text: str) -> dict[str, Any]:
    going_on = {"continue_final_message": True, "add_generation_prompt": False} if text else {}
    return {"messages": written(messages, text), **going_on}


@contextmanager
def _reading() -> Iterator[None]:
    """Raises `ValueError` for what is not of the shape that it is read as."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"this is no chat completion: {error!r}") from error


def read_segment(data: bytes) -> Segment:
    """A whole chat completion.

    Raises:
        ValueError: it is something else.
    """
    with _reading():
        answer = json.loads(data)
        choice, usage = answer["choices"][0], answer["usage"]
        logprobs = (choice.get("logprobs") or {}).get("content") or ()
        text = choice["message"]["content"] or ""
        if not isinstance(text, str):
            raise TypeError(f"content of type {type(text).__name__}")
        return Segment(
            text,
            choice["finish_reason"] == "stop",
            int(usage["prompt_tokens"]),
            int(usage["completion_tokens"]),
            tuple(logprobs),
            tuple(answer.get("prompt_logprobs") or ()),
        )


def confidence(segment: Segment) -> float | None:
    """The mean log-probability of its tokens, if the server reports it. Raises `ValueError` if it cannot be read."""
    with _reading():
        values = [_likelihood(token) for token in segment.logprobs if "logprob" in token]
    return math.fsum(values) / len(values) if values else None


def judgement(segment: Segment) -> float | None:
    """Log P(yes) - log P(no) of the answer to `QUESTION`; None if the server reports no alternatives.

    Raises:
        ValueError: they cannot be read.
    """
    if not segment.logprobs:
        return None
    best: dict[str, float] = {}
    with _reading():
        for alternative in segment.logprobs[0].get("top_logprobs") or ():
            word = str(alternative["token"]).strip(" \u0120\u2581.").lower()
            best[word] = max(best.get(word, FLOOR), _likelihood(alternative))
    return best.get("yes", FLOOR) - best.get("no", FLOOR) if best else None


def tail_score(segment: Segment, text: str) -> float | None:
    """The mean log-probability of the prompt's last tokens, as many as make up `text`, of which one at least.

    None if the server reports none. A text that is longer than what was reported counts as far as that goes.

    Raises:
        ValueError: they cannot be read.
    """
    values: list[float] = []
    left = len(text.strip())
    with _reading():
        for row in reversed(segment.prompt_logprobs):
            if not row or (values and left <= 0):
                break
            entry = next(iter(row.values()))
            values.append(_likelihood(entry))
            left -= len(entry.get("decoded_token") or "")
    return math.fsum(values) / len(values) if values else None


def _likelihood(entry: Mapping[str, Any]) -> float:
    """The log-probability that is told of a token; one that is no number, or too small for a mean, is the least."""
    return max(FLOOR, float(entry["logprob"]))
