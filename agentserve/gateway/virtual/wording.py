"""What is asked of the models behind a virtual one, and what is read from their answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.actions import Submit
from scheduler.procedures.base import Stage

KEPT = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "stop")
"""What the client says about sampling goes to the models that write."""
QUESTION = "Is the reasoning in your last message correct so far? Answer with one word, yes or no."
"""What a target is asked about a segment. Its score is log P(yes) - log P(no), for any server that reports
log-probabilities; text goes between models, so that their tokenizers may differ."""
ALTERNATIVES = 20
FLOOR = -20.0
"""The log-probability of a word that is not among the alternatives."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a step's answer says."""

    text: str
    ended: bool
    prompt_tokens: int
    output_tokens: int
    logprobs: tuple[Mapping[str, Any], ...]


def step_body(submit: Submit, asked: Mapping[str, Any], text: str) -> bytes:
    """The chat completion of a step whose sample has written `text` so far."""
    verifies = submit.step.stage is Stage.VERIFY
    messages = list(asked["messages"])
    if text:
        messages.append({"role": "assistant", "content": text})
    body: dict[str, Any] = {"model": submit.model, "messages": messages, "max_tokens": submit.max_output}
    body |= {"logprobs": True}
    if verifies:
        messages.append({"role": "user", "content": QUESTION})
        body |= {"temperature": 0.0, "top_logprobs": ALTERNATIVES}
    else:
        body |= {name: asked[name] for name in KEPT if name in asked}
        if text:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    return json.dumps(body).encode()


def read_segment(data: bytes) -> Segment:
    """A whole chat completion.

    Raises:
        ValueError: it is something else.
    """
    try:
        answer = json.loads(data)
        choice, usage = answer["choices"][0], answer["usage"]
        logprobs = (choice.get("logprobs") or {}).get("content") or ()
        return Segment(
            choice["message"]["content"] or "",
            choice["finish_reason"] == "stop",
            int(usage["prompt_tokens"]),
            int(usage["completion_tokens"]),
            tuple(logprobs),
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no chat completion: {error!r}") from error


def confidence(segment: Segment) -> float | None:
    """The mean log-probability of its tokens, if the server reports it."""
    values = [float(token["logprob"]) for token in segment.logprobs if "logprob" in token]
    return math.fsum(values) / len(values) if values else None


def judgement(segment: Segment) -> float | None:
    """Log P(yes) - log P(no) of the answer to `QUESTION`; None if the server reports no alternatives."""
    if not segment.logprobs or not segment.logprobs[0].get("top_logprobs"):
        return None
    best: dict[str, float] = {}
    for alternative in segment.logprobs[0]["top_logprobs"]:
        word = str(alternative["token"]).strip(" \u0120\u2581.").lower()
        best[word] = max(best.get(word, FLOOR), float(alternative["logprob"]))
    return best.get("yes", FLOOR) - best.get("no", FLOOR)
