"""What the brain knows: calls, programs, engines. Only the brain changes these; policies read them."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter

from scheduler.account import Account, Footprint, footprint
from scheduler.types import CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, Seconds, TenantId, Tokens
from scheduler.workflows import Answered, StageKey


class EngineStatus(Enum):
    """Whether an engine takes calls."""

    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(slots=True, eq=False)
class Program:
    """One agent run. `rank` is its place by first arrival, `born` that arrival; a sub-agent has its parent's."""

    key: ProgramKey
    rank: int
    arrived: Seconds
    born: Seconds
    workflow: str
    kind: str
    """What is learned of it is learned of all of its kind (`scheduler.learned.kind_of`)."""
    parent: ProgramKey | None
    tokens_per_byte: float
    last_seen: Seconds
    calls: dict[CallId, Call] = field(default_factory=dict)
    """Its calls that wait or run."""
    engine: EngineId | None = None
    """Where its KV is, or was last."""
    member: bool = False
    """It is admitted to `engine`: its footprint is reserved there, in calls and in gaps."""
    marks: tuple[PrefixMark, ...] = ()
    """The prefix of its latest prompt, thinned."""
    context: Tokens = 0
    """Tokens of its latest context, prompt and answer."""
    growth: Tokens = 0
    """Tokens it is expected still to grow by, as counted in its engine's `growth`."""
    claim: Tokens = 0
    """Tokens of its context at the end of its calls, and half its `growth`, as counted in its engine's `claims`."""
    peak: Tokens = 0
    served: int = 0
    work: Seconds = 0.0
    """Seconds that engines took for its answered calls."""
    gap_since: Seconds | None = None
    gap_tools: tuple[str, ...] = ()
    gap_number: int = 0
    gap_overdue: bool = False
    """It has made way in the present gap, which counts as one without a return until it comes back."""
    survives: Tokens = 0
    """Since it made way its KV is there until its engine has `written` this much."""
    pin_until: Seconds = 0.0
    """Its KV is pinned until then; 0 if it is not."""
    marked: bool = False
    """It makes way as soon as none of its calls waits or runs."""
    ending: bool = False
    """No further call will come."""
    stages: dict[str, int] = field(default_factory=dict)
    """How many calls of each named stage have come."""
    answered: list[Answered] = field(default_factory=list)
    """Its answered calls of named stages."""
    remaining_calls: int | None = None
    join_ahead: bool = False
    """Its latest calls said that a later one needs their answers together: it comes back for certain."""
    expected_gap: Seconds | None = None


@dataclass(slots=True, eq=False)
class Call:
    """One request, from arrival until it is finished, failed, cancelled or rejected."""

    id: CallId
    program: Program
    model: str
    arrived: Seconds
    sequence: int
    prompt: Tokens
    """Estimated from bytes unless the driver knew it."""
    prompt_bytes: int
    marks: tuple[PrefixMark, ...]
    held: Footprint
    """What it will hold of an engine's memory, its expected output included."""
    expected_output: Tokens
    extends: bool
    """Its prompt extends the program's known history."""
    final: bool
    streams: bool
    stops: bool
    stage: str
    deadline: Seconds | None
    number: int = 0
    """Which of its program's calls of that stage it is."""
    lost: Seconds = math.inf
    """From then on it is too late for its deadline, by an order that tells."""
    siblings: int = 0
    """Calls of its program that are sent together with it."""
    priority: int = 0
    """The client's word among the calls of its tenant: larger goes first."""
    key: tuple[float, ...] = ()
    """Its place in the waiting line."""
    aged: bool = False
    failed_on: tuple[EngineId, ...] = ()
    bound: EngineId | None = None
    """Where it waits for its turn, if the placement policy chooses when a call arrives."""
    engine: EngineId | None = None
    """Set while it is dispatched."""
    dispatched: Seconds = 0.0
    first_token: Seconds | None = None
    prefill_ahead: Tokens = 0
    """Uncached prompt tokens the engine had to prefill before this call's."""
    uncached: Tokens = 0
    """Prompt tokens in the engine's backlog until the first token; of a call that does not stream, none are counted."""
    output: Tokens = 0
    ttl: Seconds = 0.0
    """The pin that went with it."""

    @property
    def stage_key(self) -> StageKey:
        """Under which its stage is learned."""
        return self.program.key.tenant, self.program.workflow, self.stage

    @property
    def reached(self) -> Tokens:
        """The context it is expected to end with, in tokens."""
        return self.prompt + self.expected_output

    def expect(self, output: Tokens) -> None:
        """Expects that many output tokens from now on, and holds memory for them."""
        self.expected_output = output
        self.held = footprint(self.marks, self.prompt / max(self.prompt_bytes, 1), self.prompt + output)


@dataclass(slots=True, eq=False)
class EngineState:
    """One engine, its account and what is on it."""

    id: EngineId
    spec: EngineSpec
    account: Account
    status: EngineStatus = EngineStatus.UP
    returns: bool = False
    """It drains, and takes calls again after that."""
    running: dict[CallId, Call] = field(default_factory=dict)
    members: dict[ProgramKey, Program] = field(default_factory=dict)
    growth: Tokens = 0
    """What the members are expected still to grow by."""
    claims: dict[TenantId, Tokens] = field(default_factory=dict)
    """What the members of each tenant claim of its memory, prefixes that they share counted for each of them."""
    backlog: Tokens = 0
    """Uncached prompt tokens of calls that were sent and have no first token yet."""
    written: Tokens = 0
    """KV tokens written since the engine came up: those of prompts that were not cached, and of answers."""
    foreign: Tokens = 0
    """KV tokens in use by requests that are not ours, by the latest scrape."""
    scraped: Seconds = -math.inf
    """When the latest scrape began."""
    scraped_running: int = 0
    """Requests that ran at the latest scrape."""
    kv_used: Tokens = 0
    """KV tokens that requests referenced then."""
    queued: int = 0
    """Requests that waited inside the engine then."""
    drift: Tokens = 0
    """Our count of the running calls' tokens minus the engine's, at the latest scrape."""

    @property
    def free(self) -> Tokens:
        """Tokens neither held, nor in foreign use. May be negative: estimates can fall short."""
        return self.account.capacity - self.account.occupied - self.foreign


def thin(marks: tuple[PrefixMark, ...]) -> tuple[PrefixMark, ...]:
    """Keeps marks 1, 2, 4, 8, 16, ... and the last: enough to find what two prompts share, few enough to keep.

    A segment that ends at a given mark starts at the same mark in every prompt, so equal hashes are equal segments.
    """
    if len(marks) <= 2:
        return marks
    kept = []
    number = 1
    while number < len(marks):
        kept.append(marks[number - 1])
        number *= 2
    kept.append(marks[-1])
    return tuple(kept)


def extends(prompt: tuple[PrefixMark, ...], known: tuple[PrefixMark, ...]) -> bool:
    """Whether a prompt begins with the whole of a known one."""
    if not known:
        return False
    last = known[-1]
    place = bisect_left(prompt, last.size, key=_size)
    return place < len(prompt) and prompt[place] == last


_size = attrgetter("size")
