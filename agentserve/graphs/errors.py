"""What can be wrong with a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class GraphError(Exception):
    """Everything that graphs raise."""


class EditError(GraphError):
    """Nodes or edits that the graph cannot take; nothing of them was applied."""


class PlanError(GraphError):
    """A line of a plan that cannot be understood."""


class NodeError(GraphError):
    """A node has no value: it failed, was skipped or was cancelled."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a plan's verification found wrong with one node."""

    node: str
    what: str


class PlanRejectedError(GraphError):
    """A plan was not allowed to begin."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.node}: {problem.what}" for problem in problems))
        self.problems = tuple(problems)
