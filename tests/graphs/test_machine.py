"""A graph's life, without a clock."""

from __future__ import annotations

import pytest

from agentserve.graphs.calls import Budget
from agentserve.graphs.edits import Add, Edit, Remove, Replace
from agentserve.graphs.errors import EditError
from agentserve.graphs.machine import Hold
from agentserve.graphs.node import Join, OnError, Policy, State
from tests.graphs.play import IRREVERSIBLE, LLM, PURE, Play, node


def yes(value: object) -> bool:
    return value == "yes"


def no(value: object) -> bool:
    return not yes(value)


def test_a_node_starts_when_all_its_inputs_are_there() -> None:
    play = Play()
    play.add(node("1"), node("2"), node("3", "$1 and $2"))
    play.done("1", "salt")
    assert play["3"] is State.PENDING
    play.done("2", ["pepper"])
    assert play.started[-1] == ("look", ('salt and ["pepper"]',))
    play.done("3")
    assert play.machine.finished


def test_nodes_can_be_added_while_others_run_or_have_ended() -> None:
    play = Play()
    play.add(node("1"))
    play.add(node("2", "$1"))
    play.done("1", 4)
    play.add(node("3", "${1}", after=("2",)))
    assert play.started[1:] == [("look", (4,))]
    play.done("2")
    assert play.started[2:] == [("look", (4,))]


def test_a_condition_that_does_not_hold_skips_what_is_behind_it() -> None:
    play = Play()
    play.add(node("1"), node("2", when={"1": yes}), node("3", when={"1": no}), node("4", "$2"))
    play.done("1", "no")
    assert (play["2"], play["3"], play["4"]) == (State.SKIPPED, State.RUNNING, State.SKIPPED)


def test_branches_meet_again_where_one_is_enough() -> None:
    play = Play()
    play.add(node("1"), node("2", when={"1": yes}), node("3", when={"1": no}))
    play.add(node("4", "$2", "$3", join=Join.ANY), node("5", after=("2",), join=Join.ANY))
    play.done("1", "no")
    assert (play["4"], play["5"]) == (State.PENDING, State.SKIPPED), "3 still runs; all that 5 needs was skipped"
    play.done("3", "mended")
    assert play.started[-1] == ("look", (None, "mended"))


def test_a_condition_that_raises_fails_the_node_behind_it() -> None:
    play = Play()
    play.add(node("1"), node("2", when={"1": lambda value: value > 3}), node("3", "$2"))
    play.done("1", "text")
    assert (play["2"], play["3"]) == (State.FAILED, State.SKIPPED)
    assert isinstance(play.machine.slots["2"].error, TypeError)


def test_a_place_that_a_value_does_not_have_fails_the_node() -> None:
    play = Play()
    play.add(node("1"), node("2", "${1.titles.0}"), node("3", "${1.titles.7}"))
    play.done("1", {"titles": ["Dune"]})
    assert play.started[1:] == [("look", ("Dune",))]
    assert play["3"] is State.FAILED
    assert "no '7'" in str(play.machine.slots["3"].error)


def test_a_failure_skips_what_needs_it_and_nothing_else() -> None:
    play = Play()
    play.add(node("1"), node("2"), node("3", "$1"), node("4", "$2"))
    play.failed("1", "no such file")
    play.done("2")
    assert (play["1"], play["3"], play["4"]) == (State.FAILED, State.SKIPPED, State.RUNNING)
    assert str(play.machine.slots["1"].error) == "no such file"


def test_a_failure_can_end_everything_or_give_a_value_in_its_stead() -> None:
    play = Play()
    play.add(node("1", policy=Policy(on_error=OnError.FALLBACK, fallback="nothing")), node("2", "$1"))
    play.failed("1")
    assert (play["1"], play.value("1")) == (State.DONE, "nothing")
    play.add(node("3", policy=Policy(on_error=OnError.CANCEL)), node("4", "$3"))
    play.failed("3")
    assert (play["2"], play["3"], play["4"]) == (State.CANCELLED, State.FAILED, State.CANCELLED)
    assert play.machine.finished
    assert not play.running


def test_attempts_are_made_again_after_growing_pauses() -> None:
    play = Play()
    play.add(node("1", policy=Policy(retries=2, backoff=0.5)))
    play.failed("1")
    play.failed("1")
    assert (play["1"],) == (State.RUNNING,)
    assert play.pauses == [0.0, 0.5, 1.0]
    play.failed("1")
    assert play["1"] is State.FAILED


def test_an_irreversible_tool_must_not_be_retried() -> None:
    with pytest.raises(ValueError, match="node 1: delete is irreversible"):
        node("1", work=IRREVERSIBLE, policy=Policy(retries=1))


def test_what_cannot_be_taken_back_waits_for_the_approval_of_the_whole_plan() -> None:
    play = Play()
    play.add(node("1"), node("2", work=IRREVERSIBLE))
    assert (play["1"], play["2"]) == (State.RUNNING, State.PENDING)
    play.machine.approve()
    play.take()
    assert play["2"] is State.RUNNING
    play.add(node("3", work=IRREVERSIBLE))
    assert play["3"] is State.PENDING, "an edit takes the approval back"


def test_everything_can_wait_for_the_approval() -> None:
    play = Play(Hold.EVERYTHING)
    play.add(node("1"), node("2"))
    assert not play.running
    play.machine.approve()
    play.take()
    assert len(play.running) == 2


def test_equal_pure_calls_run_once_and_others_each() -> None:
    play = Play()
    play.add(node("1", {"q": "x"}, work=PURE), node("2", {"q": "x"}, work=PURE), node("3", {"q": 1}, work=PURE))
    play.add(node("4", {"q": True}, work=PURE), node("5", {"q": "x"}), node("6", {"q": "x"}))
    assert len(play.running) == 5
    play.done("1", "found")
    assert (play.value("1"), play.value("2")) == ("found", "found")
    play.add(node("7", {"q": "x"}, work=PURE))
    assert play.value("7") == "found", "also when it has ended"


def test_a_shared_call_goes_on_until_the_last_node_that_needs_it_is_cancelled() -> None:
    play = Play()
    play.add(node("1", work=PURE), node("2", work=PURE))
    play.machine.cancel("1")
    play.take()
    assert (play["1"], play["2"], play.stopped) == (State.CANCELLED, State.RUNNING, [])
    play.machine.cancel("2")
    play.take()
    assert play.stopped == ["pure"]


def test_cancelling_a_node_skips_what_needs_it() -> None:
    play = Play()
    play.add(node("1"), node("2", "$1"), node("3"))
    play.machine.cancel("1")
    play.take()
    assert (play["1"], play["2"], play["3"]) == (State.CANCELLED, State.SKIPPED, State.RUNNING)
    with pytest.raises(EditError, match="no node 9"):
        play.machine.cancel("9")


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ([Add(node("1"))], "node 1 exists already"),
        ([Add(node("9", "$8"))], r"node 9 needs 8, which there is not; write \$\$ for a dollar"),
        ([Replace(node("9"))], "there is no node 9"),
        ([Remove("1")], "node 1 is running: only nodes that have not started"),
        ([Remove("2")], "node 2 cannot be removed: 3 needs it"),
        ([Replace(node("2", "$3"))], "would need itself"),
        ([Add(node("8", "$9")), Add(node("9", "$8"))], "would need itself"),
        ([Add(node("9", "$9"))], "would need itself"),
        ([Add(node("9")), Add(node("9"))], "node 9 exists already"),
        ([Remove("3"), Replace(node("3"))], "there is no node 3"),
    ],
)
def test_an_edit_that_makes_no_sense_changes_nothing(edits: list[Edit], why: str) -> None:
    play = Play()
    play.add(node("1"), node("2", "$1"), node("3", "$2"))
    nodes = {name: slot.node for name, slot in play.machine.slots.items()}
    with pytest.raises(EditError, match=why):
        play.machine.edit([Add(node("7")), *edits])
    play.take()
    assert {name: slot.node for name, slot in play.machine.slots.items()} == nodes


def test_nodes_that_have_not_started_can_be_replaced_and_removed_together() -> None:
    play = Play()
    play.add(node("1"), node("2", "$1"), node("3", "$2"))
    play.machine.edit([Remove("2"), Replace(node("3", "$1", "$4")), Add(node("4"))])
    play.take()
    play.done("1", "a")
    play.done("4", "b")
    assert play.started[-1] == ("look", ("a", "b"))
    assert "2" not in play.machine.slots


def test_a_pure_node_that_waits_for_a_condition_only_is_begun_early() -> None:
    play = Play(budget=Budget(running=1))
    play.add(node("1"), node("2", "x", work=PURE, when={"1": yes}), node("3", "y", work=PURE, when={"1": yes}))
    assert [name for name, _ in play.started] == ["look", "pure"], "the budget is one"
    play.done("1", "yes")
    assert (play["2"], len(play.started)) == (State.RUNNING, 3), "2 has its call already; 3 gets its own"
    assert play.machine.calls.adopted == 1


def test_what_was_begun_early_for_nothing_is_stopped() -> None:
    play = Play(budget=Budget(running=1))
    play.add(node("1"), node("2", "x", work=PURE, when={"1": yes}))
    play.done("1", "no")
    assert (play["2"], play.stopped) == (State.SKIPPED, ["pure"])


def test_a_guess_is_taken_up_by_the_node_that_needs_it() -> None:
    play = Play(budget=Budget(running=2, unused=2))
    assert play.machine.speculate(PURE, (("x",), {}))
    assert not play.machine.speculate(PURE, (("x",), {})), "it runs already"
    assert not play.machine.speculate(IRREVERSIBLE, (("x",), {}))
    assert not play.machine.speculate(PURE, (("y",), {}), likely=0.1)
    play.take()
    (call,) = play.running.values()
    play.end(call, "found")
    play.add(node("1", "x", work=PURE))
    assert (play["1"], play.value("1"), len(play.started)) == (State.DONE, "found", 1)


def test_guesses_that_nobody_took_up_use_up_the_budget() -> None:
    play = Play(budget=Budget(running=9, unused=2))
    assert [play.machine.speculate(PURE, ((number,), {})) for number in range(3)] == [True, True, False]
    play.take()
    play.machine.cancel_all()
    play.take()
    assert play.stopped == ["pure", "pure"]


def test_the_longest_chain_counts_llm_nodes_that_have_not_ended() -> None:
    play = Play()
    play.add(node("1", work=LLM), node("2", "$1"), node("3", "$2", work=LLM), node("4", "$1", work=LLM))
    play.add(node("5", "$3", "$4", work=LLM))
    assert [play.machine.chain(name) for name in "12345"] == [3, 2, 2, 2, 1]
    assert [play.machine.joins(name) for name in "1345"] == [False, True, True, False]
    play.add(node("6", "$5", work=LLM))
    assert play.machine.chain("1") == 4


def test_reports_on_calls_that_were_stopped_are_ignored() -> None:
    play = Play()
    play.add(node("1"))
    call = play.find("1")
    play.machine.cancel("1")
    play.machine.succeeded(call, "late")
    play.machine.failed(call, RuntimeError("late"))
    play.take()
    assert (play["1"], play.value("1")) == (State.CANCELLED, None)
