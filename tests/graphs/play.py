"""Drives a machine without a clock: calls start when they are taken, and end when the test says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentserve.client import Effect
from agentserve.graphs.calls import Budget, Call, Start, Stop
from agentserve.graphs.integrity import check_integrity
from agentserve.graphs.machine import NO_SPECULATION, Hold, Machine
from agentserve.graphs.node import Kind, Node, State, Work
from agentserve.graphs.template import Template


def work(name: str = "look", effect: Effect = Effect.IDEMPOTENT, kind: Kind = Kind.TOOL) -> Work:
    return Work(kind, name, effect)


IDEMPOTENT = work()
PURE = work("pure", Effect.PURE)
IRREVERSIBLE = work("delete", Effect.IRREVERSIBLE)
LLM = work("write", Effect.IDEMPOTENT, Kind.LLM)


def node(id: str, *args: object, work: Work = IDEMPOTENT, **fields: Any) -> Node:  # noqa: A002
    return Node(id, work, Template.parse((args, {})), **fields)


class Play:
    """A machine and the calls that were started."""

    def __init__(self, hold: Hold = Hold.IRREVERSIBLE, budget: Budget = NO_SPECULATION) -> None:
        self.machine = Machine(hold, budget)
        self.running: dict[int, Call] = {}
        self.started: list[tuple[str, object]] = []
        """Name and arguments of each attempt."""
        self.pauses: list[float] = []
        self.stopped: list[str] = []

    def take(self) -> None:
        """Does what the machine wants, and checks its books."""
        for command in self.machine.take():
            match command:
                case Start(call, pause):
                    self.running[call.number] = call
                    self.started.append((call.work.name, call.args[0]))
                    self.pauses.append(pause)
                case Stop(call):
                    del self.running[call.number]
                    self.stopped.append(call.work.name)
        check_integrity(self.machine)

    def add(self, *nodes: Node) -> None:
        self.machine.add(*nodes)
        self.take()

    def find(self, name: str) -> Call:
        """The running call of a node."""
        return next(call for call in self.running.values() if name in call.owners)

    def done(self, name: str, value: object = None) -> None:
        self.end(self.find(name), value)

    def end(self, call: Call, value: object = None) -> None:
        del self.running[call.number]
        self.machine.succeeded(call, value)
        self.take()

    def failed(self, name: str, error: str = "broken") -> None:
        call = self.find(name)
        del self.running[call.number]
        self.machine.failed(call, RuntimeError(error))
        self.take()

    def states(self) -> Iterator[tuple[str, State]]:
        return ((name, slot.state) for name, slot in self.machine.slots.items())

    def __getitem__(self, name: str) -> State:
        return self.machine.slots[name].state

    def value(self, name: str) -> object:
        return self.machine.slots[name].value
