"""Plans in the words of models, piece by piece."""

from __future__ import annotations

import pytest

from agentserve.graphs.errors import PlanError
from agentserve.graphs.plan import LONGEST, PlanReader, Step


def read(*pieces: str, known: str = "", prefix: str = "") -> list[Step]:
    reader = PlanReader(lambda name: name in known.split(), prefix)
    steps = [step for piece in pieces for step in reader.feed(piece)]
    return [*steps, *reader.end()]


def test_a_step_is_there_as_soon_as_its_line_ends() -> None:
    reader = PlanReader(lambda name: False)
    seen = [[step.id for step in reader.feed(piece)] for piece in ("1. se", 'arch("a")', "\n2. sea", 'rch("b")\n')]
    assert seen == [[], [], ["1"], ["2"]]
    assert list(reader.end()) == []


@pytest.mark.parametrize(
    ("line", "args", "kwargs"),
    [
        ("1. f()", (), {}),
        ('1) f("a, b", 3)', ("a, b", 3), {}),
        ("$1 = f('it''s', limit=-2)", ("its",), {"limit": -2}),
        ('1: f([1, {"a": None}], deep=True);', ([1, {"a": None}],), {"deep": True}),
        ('1. f("five dollars are $5, $$ and $x")', ("five dollars are $$5, $$$$ and $$x",), {}),
    ],
)
def test_arguments_are_read_as_python_writes_them(line: str, args: object, kwargs: object) -> None:
    (step,) = read(line)
    assert (step.name, step.args, step.kwargs) == ("f", args, kwargs)


def test_placeholders_name_earlier_lines_bare_and_inside_texts() -> None:
    step = read('1. f()\n2. f()\n3. g($1, ${2.title}, "of $1 and ${2}", x=[$2])')[2]
    assert (step.args, step.kwargs) == (("${1}", "${2.title}", "of ${1} and ${2}"), {"x": ["${2}"]})


def test_a_later_plan_means_its_own_lines_first_and_then_those_that_are_known() -> None:
    first, second = read("1. f($2)\n3. f($1)", known="1 2", prefix="r2_")
    assert (first.id, first.args, second.id, second.args) == ("r2_1", ("${2}",), "r2_3", ("${r2_1}",))


def test_what_is_no_step_is_passed_over() -> None:
    assert read("Thought: I need (two) searches\n\n1. f()\n<END_OF_PLAN>\n")[0].line == "1. f()"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1. f($2)", r"\$2 is no earlier line"),
        ("1. f(rome)", "arguments must be texts, numbers"),
        ("1. f(__import__('os'))", "arguments must be"),
        ("1. f(*[1])", "arguments must be"),
        ("1. f(**{'a': 1})", "arguments must be"),
        ("1. f(1", "no closing parenthesis"),
        ("1. f()\n1. g()", "two lines 1"),
        ("1. f('" + "x" * LONGEST, "longer than"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(text: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        read(text)
