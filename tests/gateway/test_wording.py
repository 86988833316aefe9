"""What is read from the answers of the models behind a virtual one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from agentserve.gateway.virtual.wording import FLOOR, Segment, confidence, judgement, read_segment, tail_score


def segment(**fields: Any) -> Segment:
    return Segment("", False, 10, 1, **fields)


def rows(*tokens: tuple[str, float]) -> tuple[dict[str, Any] | None, ...]:
    return (None, *({"7": {"logprob": value, "decoded_token": token}} for token, value in tokens))


def test_a_tail_scores_the_tokens_that_make_up_the_text_and_none_before() -> None:
    prompt = rows(("user", -9.0), (" So", -1.0), (" it", -2.0), (" is", -3.0))
    assert tail_score(segment(prompt_logprobs=prompt), "So it is") == -2.0
    assert tail_score(segment(prompt_logprobs=prompt), " is\n\n") == -3.0


def test_a_text_longer_than_what_was_reported_counts_as_far_as_that_goes() -> None:
    assert tail_score(segment(prompt_logprobs=rows((" it", -2.0), (" is", -3.0))), "So it is, and so on") == -2.5


def test_an_empty_text_is_scored_by_the_last_token() -> None:
    assert tail_score(segment(prompt_logprobs=rows((" it", -2.0), (" is", -3.0))), "  ") == -3.0


def test_a_part_of_a_character_counts_as_a_token_of_no_length() -> None:
    prompt = rows(("x", -9.0), ("", -1.0), ("é", -2.0))
    assert tail_score(segment(prompt_logprobs=prompt), "éa") == -4.0


def test_a_log_probability_that_is_no_number_is_the_least() -> None:
    assert tail_score(segment(prompt_logprobs=rows(("a", math.nan))), "a") == FLOOR
    assert tail_score(segment(prompt_logprobs=rows(("a", -math.inf))), "a") == FLOOR


def test_without_reports_there_is_no_score() -> None:
    assert tail_score(segment(), "a") is None
    assert tail_score(segment(prompt_logprobs=(None,)), "a") is None
    assert judgement(segment()) is None
    assert judgement(segment(logprobs=({"token": "yes", "logprob": -0.1},))) is None
    assert confidence(segment()) is None


def test_a_judgement_is_the_difference_of_yes_and_no_in_any_spelling() -> None:
    told = [{"token": "\u0120Yes", "logprob": -0.5}, {"token": " no.", "logprob": -1.5}, {"token": "NO", "logprob": -3}]
    assert judgement(segment(logprobs=({"top_logprobs": told},))) == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        [], {}, {"choices": []}, {"choices": [{"message": None}], "usage": {}},
        {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": {"prompt_tokens": "many"}},
    ],
)  # fmt: skip
def test_what_is_no_chat_completion_is_an_error(answer: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (int() words its own)
        read_segment(json.dumps(answer).encode())


@pytest.mark.parametrize("told", [{"top_logprobs": [3]}, {"top_logprobs": [{"token": "yes"}]}, "x"])
def test_log_probabilities_that_cannot_be_read_are_an_error(told: Any) -> None:
    with pytest.raises(ValueError, match="no chat completion"):
        judgement(segment(logprobs=(told,)))
