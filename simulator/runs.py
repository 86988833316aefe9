"""Runs of cached blocks, and the tree in which their contents are found.

A node is some consecutive full blocks of a context; the path from the root to it is what comes before them. The KV of
one content may be there more than once, if two requests computed it side by side: a node has a run for each copy, the
oldest first, and each run lies in exactly one node. Whoever holds blocks holds whole runs. So all blocks of a run are
always in the same state, and what is done to a context costs as much as it has runs, not blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from scheduler.types import Seconds, Tokens
from simulator.content import Context, Key

Seniority = tuple[float, int]
"""A program's rank, then the order in which this engine met it; smaller is older."""


@dataclass(eq=False, slots=True)
class Holding:
    """Runs that somebody holds, in the order of their context."""

    runs: list[Run] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        """How many blocks they are."""
        return sum(run.node.blocks for run in self.runs)


@dataclass(eq=False, slots=True)
class Steps:
    """How many decode steps of an engine have begun, and how many of them have ended."""

    begun: int = 0
    ended: int = 0


@dataclass(eq=False, slots=True)
class Table(Holding):
    """The blocks of a request. While it decodes, a token is added with each step and nothing is written down.

    Full blocks that are not in `runs` yet are the request's all the same; the tree puts them there before anybody can
    see that they were not.
    """

    context: Context = field(default_factory=lambda: Context(()))
    turn: int = 0
    """Its place among the requests of a step."""
    base: Tokens = 0
    steps: Steps | None = None
    """What it grows with; None while it does not decode."""

    @property
    def computed(self) -> Tokens:
        """The tokens that have KV, or will have at the end of the step under way."""
        return self.base + self.steps.begun if self.steps else self.base


@dataclass(eq=False, slots=True)
class Trail(Holding):
    """What is left of the context of a program's request that ended last: nobody is kept from taking it."""


@dataclass(eq=False, slots=True)
class Pin(Holding):
    """The blocks of a program's last context, and how long they are kept."""

    program: str = ""
    seniority: Seniority = (0.0, 0)
    number: int = 0
    """Its place among pins whose time runs out together; one that replaces another has that one's."""
    remaining: Seconds = 0.0
    deadline: Seconds = 0.0
    guarded: int = 0
    """Free blocks that it is the oldest to hold."""
    used: bool = False
    broken: bool = False


class Node:
    """Some consecutive full blocks of a content."""

    __slots__ = ("blocks", "children", "context", "copies", "growing", "parent", "start", "weight")

    def __init__(self, parent: Node | None, start: int, blocks: int, weight: int, context: Context) -> None:
        self.parent = parent
        self.start = start
        self.blocks = blocks
        self.weight = weight
        """The blocks of memory that each copy takes; see `Footprint`."""
        self.context = context
        """That of a request which has these blocks in it."""
        self.children: dict[Key, Node] = {}
        self.copies: list[Run] = []
        self.growing: dict[Table, None] = {}
        """Tables that end here and grow."""

    @property
    def end(self) -> int:
        """The number of blocks from the root to its end."""
        return self.start + self.blocks


class Run:
    """One copy of a node's blocks, and who holds it. `older` and `newer` are its neighbours in the line of free ones."""

    __slots__ = ("newer", "node", "older", "pins", "tables", "trails")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tables: set[Table] = set()
        self.pins: set[Pin] = set()
        self.trails: set[Trail] = set()
        self.older: Run | None = None
        self.newer: Run | None = None

    @property
    def holders(self) -> list[Holding]:
        """Everybody who holds it."""
        return [*self.tables, *self.pins, *self.trails]

    @property
    def guardian(self) -> Pin:
        """The oldest of its pins; when the turn comes to this one, the others lose the run too."""
        return min(self.pins, key=_seniority) if len(self.pins) > 1 else next(iter(self.pins))

    def has_holders_of(self, other: Run) -> bool:
        """Whether the two are held by the same."""
        return self.tables == other.tables and self.pins == other.pins and self.trails == other.trails


class Line:
    """Free runs that no pin holds, in the order in which they became free."""

    __slots__ = ("_end", "blocks")

    def __init__(self) -> None:
        self.blocks = 0
        self._end = Run(Node(None, 0, 0, 0, Context(())))
        self._end.older = self._end.newer = self._end

    @property
    def first(self) -> Run | None:
        """What is taken next."""
        return self._end.newer if self._end.newer is not self._end else None

    def __iter__(self) -> Iterator[Run]:
        run = self._end.newer
        while run is not None and run is not self._end:
            yield run
            run = run.newer

    def append(self, run: Run) -> None:
        """The run is free from now on."""
        self.blocks += run.node.weight
        self._insert(run, self._end)

    def remove(self, run: Run) -> None:
        """The run is taken or held."""
        self.blocks -= run.node.weight
        self._unlink(run)

    def split(self, head: Run, tail: Run) -> None:
        """What was `tail` alone is `head` and `tail` now: the tail goes first."""
        if tail.newer is not None:
            self._insert(head, tail.newer)

    def merge(self, head: Run) -> None:
        """The run goes up in the one that follows it in its context."""
        if head.newer is not None:
            self._unlink(head)

    def _insert(self, run: Run, newer: Run) -> None:
        older = newer.older
        run.older, run.newer = older, newer
        newer.older = run
        if older is not None:
            older.newer = run

    def _unlink(self, run: Run) -> None:
        if run.older is not None and run.newer is not None:
            run.older.newer, run.newer.older = run.newer, run.older
        run.older = run.newer = None


def _seniority(pin: Pin) -> Seniority:
    return pin.seniority
