from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentserve.graphs.template import Template, escape, frozen

VALUES = {"1": "salt", "b_2": {"titles": ["Dune", "It"]}, "3": 7}


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$1 and ${3}", "salt and 7"),
        ("$b_2", VALUES["b_2"]),
        ("${b_2.titles.1}", "It"),
        ("first: ${b_2.titles}", 'first: ["Dune", "It"]'),
        (["$1", {"a": ("$3",)}], ["salt", {"a": (7,)}]),
        ("$$1 costs $$$3", "$1 costs $7"),
        ("a $ alone", "a $ alone"),
        (None, None),
    ],
)
def test_placeholders_become_values(template: object, filled: object) -> None:
    assert Template.parse(template).fill(VALUES) == filled


def test_references_are_found_once_each_wherever_they_are() -> None:
    assert Template.parse({"a": ["$2 $1", {"b": "${2.x}"}], "c": "$$9"}).refs == ("2", "1")


@given(st.text())
def test_an_escaped_text_stands_for_itself_and_values_are_not_looked_into(text: str) -> None:
    assert Template.parse(escape(text)).fill({}) == text
    assert Template.parse("$1!").fill({"1": text}) == f"{text}!"


def test_equal_by_value_is_equal_by_type_too() -> None:
    assert frozen({"a": [1, "x"], "b": None}) == frozen({"b": None, "a": (1, "x")})
    assert len({frozen(1), frozen(1.0), frozen(True), frozen("1")}) == 4
    assert frozen({1: 2}) != frozen({"1": 2})
    with pytest.raises(TypeError, match="object is not compared by value"):
        frozen([object()])
