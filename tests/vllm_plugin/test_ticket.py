from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentserve.vllm_plugin.ticket import BadValueError, Ticket, parse_tail, parse_ticket

VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


def test_a_whole_ticket() -> None:
    extra = {"agentserve_program": "default/p", "agentserve_rank": 3, "agentserve_ttl": 2.5, "other": "x"}
    assert parse_ticket(extra) == Ticket("default/p", 3, 2.5)


def test_without_a_program_there_is_none() -> None:
    assert parse_ticket({"agentserve_rank": 3, "agentserve_ttl": "what"}) is None


def test_without_rank_and_ttl_the_program_is_the_youngest_and_keeps_nothing() -> None:
    assert parse_ticket({"agentserve_program": "p"}) == Ticket("p", math.inf, 0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("program", 7, "a program must be a string, not int"),
        ("program", "é" * 301, "a program must have 1 to 600 bytes, not 602"),
        ("rank", True, "a rank must be a whole number"),
        ("rank", -1, "a rank must be a whole number"),
        ("ttl", "1", "a ttl must be a number of seconds, not str"),
        ("ttl", math.nan, "a ttl must be from 0 to 86400 seconds"),
        ("ttl", 1e9, "a ttl must be from 0 to 86400 seconds"),
    ],
)
def test_errors_say_what_is_wrong(key: str, value: object, message: str) -> None:
    with pytest.raises(BadValueError, match=message):
        parse_ticket({"agentserve_program": "p", f"agentserve_{key}": value})


@given(VALUES, VALUES, VALUES)
def test_any_value_is_either_read_or_refused(program: Any, rank: Any, ttl: Any) -> None:
    extra = {"agentserve_program": program, "agentserve_rank": rank, "agentserve_ttl": ttl}
    try:
        ticket = parse_ticket(extra)
    except BadValueError:
        return
    assert ticket == Ticket(program, rank, ttl)
    assert 0 <= ttl <= 86_400


def test_a_tail_to_score_is_a_positive_number_of_tokens() -> None:
    assert parse_tail({"agentserve_score_tail": 32}) == 32
    assert parse_tail({"agentserve_program": "p"}) is None


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "32", 2**63, [1]])
def test_any_other_tail_is_an_error(value: object) -> None:
    with pytest.raises(BadValueError, match="a tail to score must have 1 to 16777216 tokens"):
        parse_tail({"agentserve_score_tail": value})
