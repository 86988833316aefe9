"""Everything that can happen to the brain. `at` is the driver's clock in seconds and never runs backwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from scheduler.plan import PlannedStage
from scheduler.policy import PolicyConfig
from scheduler.procedures.base import News, ProcedureSpec
from scheduler.types import CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, Seconds, Tokens, Usage


class FailureReason(StrEnum):
    """Why a call that reached an engine did not finish there."""

    ENGINE_ERROR = "engine_error"
    ENGINE_LOST = "engine_lost"
    BAD_ANSWER = "bad_answer"
    REFUSED = "refused"
    STALLED = "stalled"
    TIMEOUT = "timeout"


class PinOutcome(StrEnum):
    """What became of a pin, as the engine's plugin reports it."""

    APPLIED = "applied"
    HIT = "hit"
    EXPIRED = "expired"
    BROKEN = "broken"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class CallArrived:
    """A client's request is complete and valid. `deadline` is absolute, on the same clock as `at`."""

    at: Seconds
    call: CallId
    program: ProgramKey
    model: str
    prompt_bytes: int
    prefix: tuple[PrefixMark, ...] = ()
    prompt_tokens: Tokens | None = None
    max_output: Tokens | None = None
    expected_output: Tokens | None = None
    deadline: Seconds | None = None
    parent: ProgramKey | None = None
    workflow: str = ""
    stage: str = ""
    final: bool = False
    streams: bool = True
    """A `CallFirstToken` will come; there is none for an answer that comes in one piece."""
    stops: bool = False
    """It has stop strings. An engine that ends a call by one does not set the pin that travelled with it."""
    priority: int = 0
    """The client's word among the calls of its tenant: larger goes first."""
    remaining_calls: int | None = None
    """The client's word: calls on the longest chain from this one on, itself included."""
    siblings: int = 0
    """Calls of the program that are sent together with it."""
    join: bool = False
    """A later call of the program needs its answer together with those of others."""


@dataclass(frozen=True, slots=True)
class CallAnnounced:
    """A driver says again how a call of its own is, because the brain may be another one than it knew.

    It waits, or runs on `engine` since `since`, whoever sent it there; `output` is what is known of its answer.
    """

    at: Seconds
    arrival: CallArrived
    engine: EngineId | None = None
    since: Seconds = 0.0
    started: bool = False
    """Its first token was there."""
    output: Tokens = 0


@dataclass(frozen=True, slots=True)
class CallSent:
    """The request has left for the engine it was dispatched to."""

    at: Seconds
    call: CallId


@dataclass(frozen=True, slots=True)
class CallFirstToken:
    """The engine's first output token arrived."""

    at: Seconds
    call: CallId


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """The call has produced `output` tokens so far.

    Sent when they exceed what its `Dispatch` expected, and whenever they exceed twice what the last one told. How far
    the others have come is told with each `EngineObserved`.
    """

    at: Seconds
    call: CallId
    output: Tokens


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The call's last token arrived. `tools` are the names of the tools it calls, empty if none was recognised."""

    at: Seconds
    call: CallId
    usage: Usage | None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The call broke after its first byte had gone to the client, or cannot succeed anywhere: it ends here."""

    at: Seconds
    call: CallId
    reason: FailureReason


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """The client left, whether the call was waiting or running."""

    at: Seconds
    call: CallId


@dataclass(frozen=True, slots=True)
class DispatchFailed:
    """The engine did not take the call, and nothing has gone to the client yet: it may go elsewhere."""

    at: Seconds
    call: CallId
    engine: EngineId
    reason: FailureReason


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The agent says which tool it runs in the present gap (clients that can tell; no one has to)."""

    at: Seconds
    program: ProgramKey
    tool: str


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """The agent says its tool has returned: the next call is about to come."""

    at: Seconds
    program: ProgramKey


@dataclass(frozen=True, slots=True)
class HintGiven:
    """The agent says how many more calls, or how long a gap, to expect."""

    at: Seconds
    program: ProgramKey
    remaining_calls: int | None = None
    expected_gap: Seconds | None = None


@dataclass(frozen=True, slots=True)
class ProgramEnded:
    """No more calls will come from this program. Its running calls go on; its KV need not be kept."""

    at: Seconds
    program: ProgramKey


@dataclass(frozen=True, slots=True)
class PinReported:
    """The plugin's word on a pin; `tokens` is what the pin held (of a broken one: what is left of it)."""

    at: Seconds
    program: ProgramKey
    engine: EngineId
    outcome: PinOutcome
    tokens: Tokens = 0


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """The engine has computed a program's context as `Prewarm` wanted, or could not."""

    at: Seconds
    program: ProgramKey
    engine: EngineId
    done: bool


@dataclass(frozen=True, slots=True)
class EngineUp:
    """An engine is there (again), empty. A second EngineUp of the same name replaces the first.

    One that is `held` takes no calls until an `EngineResumed`, as if it drained and returned.
    """

    at: Seconds
    engine: EngineId
    spec: EngineSpec
    held: bool = False


@dataclass(frozen=True, slots=True)
class EngineDraining:
    """The engine finishes what it has and takes nothing new.

    Where it `returns`, calls that only it can take wait for it in line; else they are rejected.
    """

    at: Seconds
    engine: EngineId
    returns: bool = False
    leaving: bool = False
    """It will not take calls again: programs in gaps move elsewhere."""


@dataclass(frozen=True, slots=True)
class EngineResumed:
    """An engine that was draining takes calls again; it has kept its KV."""

    at: Seconds
    engine: EngineId


@dataclass(frozen=True, slots=True)
class EngineDown:
    """The engine is gone, and with it all KV. Its running calls are reported one by one by the driver."""

    at: Seconds
    engine: EngineId


@dataclass(frozen=True, slots=True)
class EngineObserved:
    """A scrape that began at `as_of`. `kv_used` counts only blocks that running requests reference."""

    at: Seconds
    engine: EngineId
    as_of: Seconds
    running: int
    waiting: int
    kv_used: Tokens
    outputs: tuple[tuple[CallId, Tokens], ...] = ()
    """The tokens that the engine's running calls have produced, as far as the driver knows."""


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """The operator chose other policies; programs, pins and accounts go on."""

    at: Seconds
    policy: PolicyConfig


@dataclass(frozen=True, slots=True)
class TenantChanged:
    """A tenant's weight (its share under contention; 1.0 is the default) and its tier: smaller ones go first."""

    at: Seconds
    tenant: str
    weight: float
    tier: int = 0


@dataclass(frozen=True, slots=True)
class WorkflowDeclared:
    """Which stages a workflow has, of every tenant, and which of them follow which (`scheduler.plan`)."""

    at: Seconds
    workflow: str
    stages: tuple[PlannedStage, ...]


@dataclass(frozen=True, slots=True)
class ProcedureBegun:
    """A client asks for a virtual model. `procedure` is unique; `program` is the parent of its samples' programs."""

    at: Seconds
    procedure: str
    program: ProgramKey
    spec: ProcedureSpec
    workflow: str = ""


@dataclass(frozen=True, slots=True)
class StepEnded:
    """What was found in the answer to a submitted call. Its `CallFinished` came before."""

    at: Seconds
    call: CallId
    news: News


@dataclass(frozen=True, slots=True)
class StepFailed:
    """A submitted call was rejected, or failed for good."""

    at: Seconds
    call: CallId


@dataclass(frozen=True, slots=True)
class ProcedureCancelled:
    """The client of a virtual model left."""

    at: Seconds
    procedure: str


@dataclass(frozen=True, slots=True)
class Wakeup:
    """The time the brain asked to be woken at has come."""

    at: Seconds


Event: TypeAlias = (
    CallArrived
    | CallAnnounced
    | CallSent
    | CallFirstToken
    | CallProgressed
    | CallFinished
    | CallFailed
    | CallCancelled
    | DispatchFailed
    | ToolStarted
    | ToolEnded
    | HintGiven
    | ProgramEnded
    | PinReported
    | Prewarmed
    | EngineUp
    | EngineDraining
    | EngineResumed
    | EngineDown
    | EngineObserved
    | PolicyChanged
    | TenantChanged
    | WorkflowDeclared
    | ProcedureBegun
    | StepEnded
    | StepFailed
    | ProcedureCancelled
    | Wakeup
)
