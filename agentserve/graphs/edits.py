"""Changes of a graph. Those that are made together are all applied, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agentserve.graphs.node import Node


@dataclass(frozen=True, slots=True)
class Add:
    """A node with a new id."""

    node: Node


@dataclass(frozen=True, slots=True)
class Replace:
    """Another node in the place of one of the same id that has not started."""

    node: Node


@dataclass(frozen=True, slots=True)
class Remove:
    """Takes away a node that has not started, and that no other needs after the edit."""

    id: str


Edit: TypeAlias = Add | Replace | Remove
