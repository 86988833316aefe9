from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.text2sql.replies import lines_of, number_of, passed, sql_of, words_of


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("Sure! Here it is:\n```sql\nSELECT a\n  FROM t;\n```\nIt selects a.", "SELECT a FROM t"),
        ("The answer is select name from t\n\nbecause", "select name from t"),
        ("```\nWITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("SELECT 1; SELECT 2", "SELECT 1"),
        ("DELETE FROM t", "DELETE FROM t"),
        ("I do not know", "I do not know"),
        ("", ""),
    ],
)
def test_the_statement_is_taken_out_of_an_answer(text: str, sql: str) -> None:
    assert sql_of(text) == sql


def test_keywords_are_different_words_that_mean_something() -> None:
    assert words_of("How many orders of Berlin, and orders in Paris, were in X?", 3) == ["orders", "Berlin", "Paris"]
    assert words_of("", 3) == []


def test_lines_lose_their_bullets() -> None:
    assert lines_of("- one\n\n2. two\n * three\nfour", 3) == ["one", "two", "three"]


def test_numbers_out_of_range_are_no_choice() -> None:
    assert number_of("Candidate 7, or rather 2", 3) == 2
    assert number_of("none", 3) is None
    assert passed("1, 3 and 9, not 0", 3) == {1, 3}


@given(st.text(alphabet=st.characters(blacklist_categories=[])), st.integers(1, 5))
def test_nothing_that_a_model_writes_is_an_error(text: str, limit: int) -> None:
    assert sql_of(text) == sql_of(text).strip()
    assert len(words_of(text, limit)) <= limit
    assert len(lines_of(text, limit)) <= limit
    assert passed(text, limit) <= set(range(1, limit + 1))
    assert number_of(text, limit) in {None, *range(1, limit + 1)}
