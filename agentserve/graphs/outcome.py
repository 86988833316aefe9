"""What became of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agentserve.client.answer import Answer
from agentserve.graphs.errors import NodeError
from agentserve.graphs.machine import Machine
from agentserve.graphs.node import State
from agentserve.graphs.template import bare


@dataclass(frozen=True, slots=True)
class Counts:
    """What was saved and spent: equal pure calls that were not run again, calls begun early, and those taken up."""

    calls: int
    shared: int
    begun_early: int
    taken_up: int


class Outcome:
    """What nodes came to, by their ids: `values` of those that are done, `errors` of those that failed.

    `states` has all nodes, `answers` the whole chat completions of LLM nodes, `counts` what was saved and spent.
    """

    def __init__(self, machine: Machine, answers: Mapping[str, Answer], calls: int) -> None:
        slots = machine.slots
        self.states = {name: slot.state for name, slot in slots.items()}
        self.errors = {name: slot.error for name, slot in slots.items() if slot.error is not None}
        self.answers = dict(answers)
        self.counts = Counts(calls, machine.calls.shared, machine.calls.begun_early, machine.calls.adopted)
        self.values = {name: slot.value for name, slot in slots.items() if slot.state is State.DONE}

    def __getitem__(self, name: str) -> object:
        """The value of a node; a placeholder names it as well.

        Raises:
            NodeError: it has none; the message says why.
            KeyError: there is no such node.
        """
        name = bare(name)
        if name in self.values:
            return self.values[name]
        error = self.errors.get(name)
        raise NodeError(f"node {name} {self.states[name].value}" + (f": {error}" if error else "")) from error

    def check(self) -> Outcome:
        """The outcome, if no node failed.

        Raises:
            NodeError: one did; the first is named.
        """
        for name, state in self.states.items():
            if state is State.FAILED:
                self[name]
        return self
