from __future__ import annotations

import math

import pytest

from workloads.program import Call, Edge, Program, SharedPrefix, WorkloadError, check_workload


def call(name: str, *after: str, context: str | None = None) -> Call:
    return Call(name, 10, 5, after=tuple(Edge(other) for other in after), context=context)


def program(*calls: Call, name: str = "p", arrival_s: float = 0.0) -> Program:
    return Program(name, arrival_s, calls)


def test_a_prompt_is_the_prefix_or_history_and_the_new_tokens() -> None:
    first = Call("0", 100, 20, prefix=(SharedPrefix("system", 30), SharedPrefix("tools", 20)))
    made = program(
        first,
        Call("1", 30, 10, after=(Edge("0"),), context="0"),
        Call("fresh", 7, 3, after=(Edge("1"),)),
        Call("fork", 1, 1, after=(Edge("fresh"),), context="0"),
    )

    assert made.prompt_tokens() == {"0": 150, "1": 200, "fresh": 7, "fork": 171}
    assert made.peak_tokens == 210


def test_turns_are_depths_whatever_the_order_of_the_list() -> None:
    made = program(call("join", "left", "right"), call("right", "a"), call("left", "b"), call("b", "a"), call("a"))

    assert made.turns() == {"a": 0, "b": 1, "left": 2, "right": 1, "join": 3}
    assert {made.ordered()[0].id, made.ordered()[-1].id} == {"a", "join"}


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_times_must_be_finite_and_not_negative(value: float) -> None:
    with pytest.raises(WorkloadError, match="gap_s of the edge from call 'a' must be a finite number of seconds"):
        Edge("a", value)
    with pytest.raises(WorkloadError, match="arrival_s of program 'p'"):
        program(call("a"), arrival_s=value)


@pytest.mark.parametrize("value", [0, -5, 10_000_001])
def test_lengths_must_be_sensible(value: int) -> None:
    with pytest.raises(WorkloadError, match="new_tokens of call 'a' must be between 1 and 10,000,000"):
        Call("a", value, 1)
    with pytest.raises(WorkloadError, match="output_tokens of call 'a'"):
        Call("a", 1, value)
    with pytest.raises(WorkloadError, match="tokens of prefix 'x'"):
        SharedPrefix("x", value)


def test_a_call_has_a_context_or_a_prefix_but_not_both() -> None:
    with pytest.raises(WorkloadError, match="both a context and a prefix"):
        Call("b", 1, 1, context="a", prefix=(SharedPrefix("x", 1),))


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ((), "program 'p' has no calls"),
        ((call("a"), call("a")), "program 'p' uses a call id twice"),
        ((call("a", "b"),), "call 'a' of program 'p' waits for 'b', which does not exist"),
        ((call("a", context="b"),), "extends the history of 'b', which does not exist"),
        ((call("a"), call("b", context="a")), "does not wait for it: add an edge"),
        ((call("a", "a"),), "wait for each other: a -> a"),
        ((call("a", "b"), call("b", "c"), call("c", "a")), "wait for each other: "),
    ],
)
def test_a_program_that_cannot_run_is_refused(calls: tuple[Call, ...], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        program(*calls)
    assert message in str(caught.value)


def test_a_context_may_be_reached_through_other_calls() -> None:
    made = program(call("a"), call("b", "a"), call("c", "b", context="a"))

    assert made.prompt_tokens()["c"] == 25


def test_programs_may_wait_for_each_others_calls() -> None:
    parent = program(call("0"), Call("1", 1, 1, after=(Edge("0"), Edge("0", program="kid"))), name="parent")
    kid = Program("kid", 0.0, (Call("0", 1, 1, after=(Edge("0", program="parent"),)),), parent="parent")

    check_workload([parent, kid])


def waits_for(name: str, program_name: str, call_name: str, parent: str | None = None) -> Program:
    return Program(name, 0.0, (Call("0", 1, 1, after=(Edge(call_name, program=program_name),)),), parent)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ([program(call("0")), program(call("0"))], "two programs have the same id"),
        ([waits_for("a", "b", "0")], "call a:0 waits for b:0, which does not exist"),
        ([waits_for("a", "p", "9"), program(call("0"))], "call a:0 waits for p:9, which does not exist"),
        ([waits_for("a", "p", "0", "ghost"), program(call("0"))], "has the parent 'ghost', which does not exist"),
        ([waits_for("a", "b", "0"), waits_for("b", "a", "0")], "calls wait for each other: "),
    ],
)
def test_programs_that_do_not_fit_together_are_refused(programs: list[Program], message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        check_workload(programs)
    assert message in str(caught.value)


def test_a_program_is_not_its_own_parent() -> None:
    with pytest.raises(WorkloadError, match="its own parent"):
        Program("p", 0.0, (call("0"),), parent="p")
