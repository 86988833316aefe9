"""Programs and calls under way in a simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.types import CallId, ProgramKey, Seconds, Tokens
from simulator.content import Extent
from simulator.network import Legs
from simulator.prompt import EMPTY, Prompt, shared_content
from workloads.program import Call, Program

NO_ID = CallId("")


@dataclass(slots=True, eq=False)
class LiveProgram:
    """A program that has arrived and has calls left."""

    program: Program
    key: ProgramKey
    parent: ProgramKey | None
    legs: Legs
    bytes_per_token: float
    unsent: int
    unanswered: int
    missing: dict[str, int] = field(default_factory=dict)
    """How many edges each call still waits for."""
    ready: dict[str, Seconds] = field(default_factory=dict)
    """When each waiting call could start, by the edges that are over."""
    heirs: Mapping[str | None, int] = field(default_factory=dict)
    """How many calls extend each call's history."""
    histories: dict[str, tuple[Prompt, int]] = field(default_factory=dict)
    """The context after each call, and how many heirs of it have not begun."""
    turns: dict[str, int] = field(default_factory=dict)
    ends: dict[str, Seconds] = field(default_factory=dict)
    """When each answer was complete at the client."""
    prompt: Tokens = 0
    given_up: bool = False
    """One of its calls was refused, and its client sends no more."""
    cached: Tokens = 0
    output: Tokens = 0

    @property
    def id(self) -> str:
        return self.program.id

    def opening(self, call: Call) -> Prompt:
        """What the call's prompt begins with. A history is forgotten with its last heir."""
        if call.context is not None:
            history, heirs = self.histories.pop(call.context)
            if heirs > 1:
                self.histories[call.context] = history, heirs - 1
            return history
        prompt = EMPTY
        for part in call.prefix:
            prompt = prompt.then(shared_content(part.id), part.tokens, self.bytes_per_token)
        return prompt

    def remember(self, call: Call, context: Prompt) -> None:
        """Keeps the context after a call for those that extend it."""
        heirs = self.heirs.get(call.id, 0)
        if heirs:
            self.histories[call.id] = context, heirs

    def turn(self, call: Call) -> int:
        """The call's depth among those of its program."""
        own = (self.turns[edge.call] for edge in call.after if edge.program in ("", self.id))
        self.turns[call.id] = depth = 1 + max(own, default=-1)
        return depth


def heirs(program: Program) -> Mapping[str | None, int]:
    """How many calls extend each call's history."""
    return Counter(call.context for call in program.calls)


@dataclass(slots=True, eq=False)
class LiveCall:
    """A call that has reached the gateway and is not answered yet."""

    program: LiveProgram
    call: Call
    turn: int
    prompt: Prompt
    content: tuple[Extent, ...]
    """The prompt's and the answer's."""
    max_output: Tokens | None
    deadline: Seconds | None
    final: bool
    arrived: Seconds
    id: CallId = NO_ID
    """The program's and the call's, unless given."""
    model: str = ""
    """Where not all engines of the gateway serve one."""
    engine: str = ""
    dispatched: Seconds = 0.0
    ttl: Seconds = 0.0
    expected: Tokens = 0
    """More output tokens than these are news to the brain."""
    first_token: Seconds = 0.0
    cached: Tokens = 0
    produced: Tokens = 0
    """Output tokens, as far as the gateway knows."""

    def __post_init__(self) -> None:
        self.id = self.id or CallId(f"{self.program.id}:{self.call.id}")
