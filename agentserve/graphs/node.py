"""Nodes: what is run, when, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from agentserve.client.tools import Effect
from agentserve.graphs.template import NAME, Template

Condition = Callable[[object], bool]
"""Whether an edge is enabled, by the value of its source. It has no effects: it may be asked at any time."""


class Kind(Enum):
    """What a node is."""

    TOOL = "tool"
    LLM = "llm"
    """Its messages are arguments."""
    PROMPT = "prompt"
    """An LLM call whose messages are made of its arguments."""


class State(StrEnum):
    """Where a node is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """An edge that it needs was disabled."""
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (State.PENDING, State.RUNNING)


class Join(Enum):
    """How many of a node's edges have to be enabled."""

    ALL = "all"
    """All; it is skipped as soon as one is disabled."""
    ANY = "any"
    """One, once all are decided. The values of the others are None."""


class OnError(Enum):
    """What the failure of a node means for others."""

    SKIP = "skip"
    """Its edges are disabled; everything else goes on."""
    CANCEL = "cancel"
    """Everything that has not ended is cancelled."""
    FALLBACK = "fallback"
    """It counts as done, with the policy's `fallback` as its value."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How hard a node is tried. Tools that are irreversible are never tried again.

    Attributes:
        timeout: seconds an attempt may take.
        retries: further attempts after a failure or a timeout.
        backoff: seconds before the second attempt, twice as many before each further one.
        on_error: what the failure of its last attempt means.
        fallback: its value then, for `OnError.FALLBACK`.
    """

    timeout: float | None = None
    retries: int = 0
    backoff: float = 0.0
    on_error: OnError = OnError.SKIP
    fallback: object = None

    def __post_init__(self) -> None:
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout must be above 0 seconds, not {self.timeout}")
        if self.retries < 0 or self.backoff < 0:
            raise ValueError("retries and backoff must not be negative")


DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Work:
    """What is run: a tool by its name, or an LLM call of a stage."""

    kind: Kind
    name: str
    effect: Effect

    @property
    def is_llm(self) -> bool:
        """Whether it is an LLM call."""
        return self.kind is not Kind.TOOL


@dataclass(frozen=True, slots=True)
class Node:
    """One call of a graph, with an id that never gets a second value.

    Attributes:
        args: positional and keyword arguments, as `((...), {...})` with placeholders.
        after: nodes that have to be done before, besides those that placeholders refer to.
        when: conditions of edges, by their source.
        likely: how likely it is that it will be enabled, for a speculative start.
        needs: the sources of all its edges.
    """

    id: str
    work: Work
    args: Template
    after: tuple[str, ...] = ()
    when: Mapping[str, Condition] = field(default_factory=dict)
    join: Join = Join.ALL
    policy: Policy = DEFAULT
    likely: float = 0.5
    needs: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.id):
            raise ValueError(f"a node's id has letters, digits and underscores only, not {self.id!r}")
        if self.policy.retries and self.work.effect is Effect.IRREVERSIBLE:
            raise ValueError(f"node {self.id}: {self.work.name} is irreversible, so that it must not be retried")
        object.__setattr__(self, "needs", tuple(dict.fromkeys((*self.args.refs, *self.after, *self.when))))
