"""Everything the brain can ask of its driver."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from scheduler.procedures.base import Conclude, Step
from scheduler.types import CallId, EngineId, ProgramKey, Seconds, Tokens


class Why(StrEnum):
    """Why a call went when and where it did. The value is the metric label and a response header."""

    DIRECT = "direct"
    """It did not wait."""
    ADMITTED = "admitted"
    """It waited until its program fitted into an engine's memory."""
    AGED = "aged"
    """It had waited as long as a call may wait, and went although its program did not fit."""
    MOVED = "moved"
    """It left the engine that held its KV, because waiting there cost more than prefill elsewhere."""
    RETRIED = "retried"
    """Another engine had not taken it."""
    FORWARDED = "forwarded"
    """There was no brain to ask: it went to the engine that had the fewest calls."""


class RejectReason(StrEnum):
    """Why a call cannot be served."""

    UNKNOWN_MODEL = "unknown_model"
    TOO_LONG = "too_long"
    NO_ENGINE = "no_engine"
    ENGINES_FAILED = "engines_failed"
    DUPLICATE = "duplicate"
    TOO_LATE = "too_late"
    """Its deadline cannot be met any more, and the policy does not serve such calls."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the call to the engine now.

    `expected` is the number of output tokens that memory is held for; a `CallProgressed` says if there are more.
    `priority` is vLLM's (smaller goes first) and is the program's rank by first arrival unless the order policy says
    otherwise. `ttl` is the pin that travels with the request and starts when the call finishes; 0 pins nothing.
    """

    call: CallId
    engine: EngineId
    priority: int
    rank: int
    ttl: Seconds
    why: Why
    waited: Seconds
    expected: Tokens


@dataclass(frozen=True, slots=True)
class Retain:
    """Keep the program's KV on the engine for `ttl` seconds from now, in place of any earlier time-to-live."""

    program: ProgramKey
    engine: EngineId
    ttl: Seconds


@dataclass(frozen=True, slots=True)
class Release:
    """The program's KV on the engine need not be kept."""

    program: ProgramKey
    engine: EngineId


@dataclass(frozen=True, slots=True)
class Prewarm:
    """Have the engine compute the program's latest prompt, behind all calls; tell how it went by `Prewarmed`."""

    program: ProgramKey
    engine: EngineId
    rank: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop the call upstream at once."""

    call: CallId


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the call with an error; it is forgotten."""

    call: CallId
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Submit:
    """A procedure wants a call: write its prompt, send its `CallArrived`, and at its end a `StepEnded` or `StepFailed`.

    An `Abort` of a call that was submitted may come at any time, before its `CallArrived` too.
    """

    procedure: str
    call: CallId
    step: Step
    model: str
    program: ProgramKey
    parent: ProgramKey
    workflow: str
    max_output: Tokens


@dataclass(frozen=True, slots=True)
class Answer:
    """A procedure is over; all that it still had under way has been aborted."""

    procedure: str
    conclusion: Conclude


Action: TypeAlias = Dispatch | Retain | Release | Prewarm | Abort | Reject | Submit | Answer
