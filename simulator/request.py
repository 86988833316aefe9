"""What an engine is asked to do, and what it says about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.types import Seconds, Tokens
from simulator.blocks import Block
from simulator.content import Extent


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


@dataclass(frozen=True, slots=True)
class Output:
    """One more token of a request, at the end of a step."""

    request: str
    produced: Tokens
    """Output tokens so far."""
    cached: Tokens
    """Prompt tokens that the prefix cache held when the request was first admitted."""
    finished: bool


@dataclass(eq=False, slots=True)
class Progress:
    """How far a request has come. `computed` tokens of its context have KV in `table`, its blocks in order."""

    request: Request
    hashes: tuple[int, ...]
    """The chained hash of every full block of the prompt and the output after it."""
    arrival: Seconds
    sequence: int
    computed: Tokens = 0
    produced: Tokens = 0
    cached: Tokens | None = None
    table: list[Block] = field(default_factory=list)

    @property
    def known(self) -> Tokens:
        """The length of its context: the prompt and the output so far."""
        return self.request.prompt_tokens + self.produced

    @property
    def urgency(self) -> tuple[int, Seconds, int]:
        """Its place where the engine schedules by priority: the smallest goes first, the greatest is preempted."""
        return self.request.priority, self.arrival, self.sequence
