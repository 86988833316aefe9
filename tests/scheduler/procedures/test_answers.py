"""Finding answers in text."""

from __future__ import annotations

import pytest

from scheduler.procedures.answers import Extraction, Rule


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{41} no, \boxed{ 42 }", "42"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{7} and then \boxed{cut o", "7"),
        ("no box", ""),
    ],
)
def test_the_last_complete_box_is_the_answer(text: str, answer: str) -> None:
    assert Extraction().find(text) == answer


def test_a_regular_expression_gives_its_first_group_or_the_whole_match() -> None:
    assert Extraction(Rule.REGEX, r"answer: (\d+)").find("answer: 1, answer: 22.") == "22"
    assert Extraction(Rule.REGEX, r"\d+").find("1 or 22") == "22"
    assert Extraction(Rule.REGEX, r"x(\d)?").find("x") == ""
    assert Extraction(Rule.REGEX, r"\d+").find("none") == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('first {"r": [{"v": 1}]} then {"r": [{"v": " b "}]}', "b"),
        ('{"r": [{"v": {"b": 1, "a": 2}}]}', '{"a": 2, "b": 1}'),
        ('{"r": [{"v": 3}]} {"other": 1}', "3"),
        ('{"r": []} {broken', ""),
    ],
)
def test_a_path_finds_a_value_in_the_last_object_that_has_it(text: str, answer: str) -> None:
    assert Extraction(Rule.JSON_PATH, "$.r[0].v").find(text) == answer


@pytest.mark.parametrize(
    ("rule", "pattern", "message"),
    [
        (Rule.REGEX, "(", "no regular expression"),
        (Rule.REGEX, "", "needs a pattern"),
        (Rule.BOXED, "x", "takes no pattern"),
        (Rule.JSON_PATH, "a..b", "is no path"),
        (Rule.JSON_PATH, "$", "names no key"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_an_error(rule: Rule, pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Extraction(rule, pattern)
