"""Random graphs under random events: the books agree after each, nothing is decided twice, and all of it ends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentserve.graphs.calls import Budget
from agentserve.graphs.edits import Add, Edit, Remove, Replace
from agentserve.graphs.errors import EditError
from agentserve.graphs.machine import Hold
from agentserve.graphs.node import Join, Node, OnError, Policy, State
from tests.graphs.play import IRREVERSIBLE, LLM, PURE, Play, node, work

WORKS = (work(), PURE, IRREVERSIBLE, LLM)
OPEN = (State.PENDING, State.RUNNING)


def odd(value: object) -> bool:
    return value == "odd"


@st.composite
def nodes(draw: st.DrawFn, number: int) -> Node:
    """A node that refers to any of the first `number`, whether they are there or not."""
    names = st.integers(0, max(0, number)).map(lambda each: f"n{each}")
    refs = draw(st.lists(names, max_size=3))
    kind = draw(st.sampled_from(WORKS))
    policy = Policy(
        retries=0 if kind is IRREVERSIBLE else draw(st.integers(0, 1)),
        on_error=draw(st.sampled_from([OnError.SKIP, OnError.SKIP, OnError.FALLBACK, OnError.CANCEL])),
    )
    return node(
        draw(names),
        *[f"${name}" for name in refs],
        work=kind,
        after=tuple(draw(st.lists(names, max_size=1))),
        when=dict.fromkeys(draw(st.lists(names, max_size=1)), odd),
        join=draw(st.sampled_from(list(Join))),
        policy=policy,
    )


class Script:
    """Plays drawn steps, and keeps what may never change."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        hold = self.draw(st.sampled_from(list(Hold)))
        self.play = Play(hold, self.draw(st.sampled_from([Budget(), Budget(running=2, unused=4)])))
        self.ended: dict[str, tuple[State, object]] = {}
        self.number = 0

    def step(self) -> None:
        steps = [self.edit, self.edit, self.approve, self.cancel, self.succeed, self.succeed, self.succeed, self.fail]
        self.draw(st.sampled_from(steps))()
        self.check()

    def edit(self) -> None:
        self.number += 2
        one = st.one_of(
            nodes(self.number).map(Add),
            nodes(self.number).map(Add),
            nodes(self.number).map(Replace),
            st.integers(0, self.number).map(lambda each: Remove(f"n{each}")),
        )
        edits: list[Edit] = self.draw(st.lists(one, min_size=1, max_size=3))
        before = {name: slot.node for name, slot in self.play.machine.slots.items()}
        try:
            self.play.machine.edit(edits)
        except EditError:
            assert {name: slot.node for name, slot in self.play.machine.slots.items()} == before
        self.play.take()

    def approve(self) -> None:
        self.play.machine.approve()
        self.play.take()

    def cancel(self) -> None:
        if self.play.machine.slots:
            self.play.machine.cancel(self.draw(st.sampled_from(sorted(self.play.machine.slots))))
            self.play.take()

    def succeed(self) -> None:
        if self.play.running:
            call = self.play.running[self.draw(st.sampled_from(sorted(self.play.running)))]
            self.play.end(call, self.draw(st.sampled_from(["odd", "even"])))

    def fail(self) -> None:
        if self.play.running:
            number = self.draw(st.sampled_from(sorted(self.play.running)))
            self.play.machine.failed(self.play.running.pop(number), RuntimeError("broken"))
            self.play.take()

    def check(self) -> None:
        machine = self.play.machine
        assert set(self.play.running) == set(machine.calls.running), "calls run that the machine does not know"
        for name, state in self.play.states():
            found = state, self.play.value(name)
            assert self.ended.setdefault(name, found) == found if state.ended else name not in self.ended, name
        for call in self.play.running.values():
            if call.work is IRREVERSIBLE:
                assert call.attempt == 1
                assert len(call.owners) == 1

    def finish(self) -> None:
        """Whatever happened before, approvals and answers end it."""
        while not self.play.machine.finished:
            self.approve()
            for call in list(self.play.running.values()):
                self.play.end(call, "odd")
            self.check()
        self.play.machine.cancel_all()
        self.play.take()
        assert not self.play.running


@given(st.data())
@settings(max_examples=200)
def test_the_books_agree_after_every_event_and_all_of_it_ends(data: st.DataObject) -> None:
    script = Script(data)
    for _ in range(data.draw(st.integers(1, 25))):
        script.step()
    script.finish()
