"""What a graph knows of one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentserve.graphs.calls import Call
from agentserve.graphs.node import Node, State


class Slot:
    """A node and where it stands. `waiting`, `enabled` and `disabled` count its edges."""

    __slots__ = (
        "call",
        "dependants",
        "disabled",
        "enabled",
        "error",
        "guess",
        "node",
        "settled",
        "state",
        "value",
        "waiting",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.state = State.PENDING
        self.value: object = None
        self.error: BaseException | None = None
        self.call: Call | None = None
        self.guess: Call | None = None
        """Its call, begun early."""
        self.settled = False
        """It has ended, and its edges are decided."""
        self.dependants: dict[str, None] = {}
        self.waiting = self.enabled = self.disabled = 0


class Values(Mapping[str, object]):
    """The values of nodes; None for those that have none."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self._slots = slots

    def __getitem__(self, name: str) -> object:
        return self._slots[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)
