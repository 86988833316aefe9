"""What an engine is asked to do, and what it says about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.types import Seconds, Tokens
from simulator.content import Extent
from simulator.runs import Table


@dataclass(frozen=True, slots=True)
class Request:
    """One call as the engine model sees it: how long it is, and what its context holds.

    The output's length and content are known beforehand: a trace or the emulated engine decides them.
    """

    id: str
    prompt_tokens: Tokens
    output_tokens: Tokens
    content: tuple[Extent, ...]
    """The prompt's tokens and the output's after them."""
    priority: int = 0
    program: str = ""
    """Whose KV this is, "" if no program's."""
    rank: int | None = None
    """The program's place by first arrival, smaller is older; None counts as the youngest."""
    ttl: Seconds = 0.0
    """How long the program's KV is retained from the end of this request."""
    quiet: Tokens = 0
    """Outputs between its first and its last token tell of more tokens than this; `Engine.hush` makes it greater."""


@dataclass(frozen=True, slots=True)
class Output:
    """How far a request has come at the end of a step."""

    request: str
    produced: Tokens
    """Output tokens so far."""
    cached: Tokens
    """Prompt tokens that the prefix cache held when the request was first admitted."""
    finished: bool


@dataclass(eq=False, slots=True)
class Progress:
    """How far a request has come."""

    request: Request
    arrival: Seconds
    sequence: int
    table: Table
    cached: Tokens | None = None
    sampled: Tokens = 0
    """Output tokens, without those of the steps that its table grows with."""
    quiet: Tokens = field(init=False)

    def __post_init__(self) -> None:
        self.quiet = self.request.quiet

    @property
    def produced(self) -> Tokens:
        """Output tokens so far."""
        steps = self.table.steps
        return self.sampled + steps.ended if steps else self.sampled

    @property
    def known(self) -> Tokens:
        """The length of its context: the prompt and the output so far."""
        return self.request.prompt_tokens + self.produced

    @property
    def remaining(self) -> Tokens:
        """How much of its context has no KV yet."""
        return self.known - self.table.computed

    @property
    def urgency(self) -> tuple[int, Seconds, int]:
        """Its place where the engine schedules by priority: the smallest goes first, the greatest is preempted."""
        return self.request.priority, self.arrival, self.sequence
