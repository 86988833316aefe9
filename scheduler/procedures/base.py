"""What a procedure is: a pure state machine that makes one answer of many calls.

A procedure hears how its steps ended and answers with commands. It knows no text, no engine and no clock: the driver
writes the prompts, and tells what it found in an answer. A *sample* is one attempt; its *steps* are calls; a *turn* is
a drafted segment with its verification and, where that rejects it, the target's continuation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from scheduler.types import Tokens


class Kind(StrEnum):
    """The procedures. `ATTS_BARRIER` is the comparator: the same, but no turn begins before all have ended the last."""

    ATTS = "atts"
    ATTS_BARRIER = "atts_barrier"
    BEST_OF_N = "best_of_n"
    SELF_CONSISTENCY = "self_consistency"


class Stage(StrEnum):
    """What a step does, and which queue it stands in."""

    DRAFT = "draft"
    VERIFY = "verify"
    TAKEOVER = "takeover"


class Vote(StrEnum):
    """How the answer is chosen among the samples'."""

    MAJORITY = "majority"
    BEST = "best"


class Selection(StrEnum):
    """Which segments the target continues: those of the lowest p-values, or any (the comparator) at the same rate."""

    CONFORMAL = "conformal"
    RANDOM = "random"


class Verdict(StrEnum):
    """Why a procedure is over."""

    COMPLETE = "complete"
    DECIDED = "decided"
    """No sample that is still under way is likely to change the vote."""
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    """No sample could be written to its end or shows an answer, or the target failed and the client is strict."""


@dataclass(frozen=True, slots=True)
class ProcedureSpec:
    """What to run.

    Raises:
        ValueError: a budget is not above 0, or a share not between 0 and 1.
    """

    kind: Kind
    draft: str
    """The model that writes; the only one of `best_of_n` and `self_consistency`."""
    target: str = ""
    samples: int = 16
    turns: int = 15
    """The most segments that a sample drafts."""
    segment_tokens: Tokens = 500
    takeover: float = 0.4
    """The share of segments that the target continues."""
    vote: Vote = Vote.MAJORITY
    selection: Selection = Selection.CONFORMAL
    decided: float | None = 0.97
    """Stop when the leader wins with this probability; None runs every sample to its end."""
    certain: int | None = None
    """A sample is over when so many probes in a row gave one answer; None never ends one so."""
    warm_up: int | None = None
    """After so many samples have ended, those of lower confidence than `discard` of them are aborted; None aborts none."""
    discard: float = 0.1
    strict: bool = False
    """Fail when the target does; otherwise the draft goes on alone."""
    follow_load: bool = True
    """Lower the takeover rate while the target has more takeovers than it can run."""

    def __post_init__(self) -> None:
        for name in ("samples", "turns", "segment_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be at least 1")
        for name in ("takeover", "discard"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be from 0 to 1")
        if self.decided is not None and not 0.5 <= self.decided < 1:
            raise ValueError(f"decided is {self.decided}, and must be from 0.5 to below 1")
        for name in ("certain", "warm_up"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, and must be at least 1")
        if self.verifies and not self.target:
            raise ValueError(f"{self.kind.value} needs a target model")

    @property
    def verifies(self) -> bool:
        """Whether there is a target that scores and continues."""
        return self.kind in (Kind.ATTS, Kind.ATTS_BARRIER)


class Step(NamedTuple):
    """One call of a procedure: what a sample does in a turn."""

    sample: int
    turn: int
    stage: Stage

    def __str__(self) -> str:
        return f"{self.sample}.{self.turn}.{self.stage.value}"


class News(NamedTuple):
    """What the driver found in the answer to a step."""

    output: Tokens = 0
    ended: bool = False
    """The model ended its text."""
    answer: str = ""
    """The answer in the text so far, "" if there is none. Answers are equal as strings."""
    score: float | None = None
    """Of a verification: the mean log-probability of the segment under the target, greater is better."""
    confidence: float | None = None
    """Of a written segment: the mean log-probability under the model that wrote it, where that is known."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Run the step."""

    step: Step


@dataclass(frozen=True, slots=True)
class Stop:
    """The step's answer is no longer wanted."""

    step: Step


@dataclass(frozen=True, slots=True)
class Leave:
    """The sample takes no further step: its KV need not be kept."""

    sample: int


@dataclass(frozen=True, slots=True)
class Conclude:
    """The procedure is over. `sample` wrote the answer; None if there is none."""

    verdict: Verdict
    answer: str
    sample: int | None
    votes: int
    """How many samples gave this answer, of `voters` that gave any."""
    voters: int
    degraded: bool
    """The target failed, and the draft went on without it."""
    saved: Tokens
    """An estimate of what samples that were ended early would have written: as much as those that ended by themselves,
    in the mean, did. Those end first that are short, so it is rather too low."""


Command: TypeAlias = Begin | Stop | Leave | Conclude


class Procedure(Protocol):
    """One virtual call under way."""

    @property
    def certainty(self) -> float:
        """The probability that the answer that leads now will win; 0.5 where nothing is known."""
        ...

    def begin(self) -> list[Command]:
        """The first steps."""
        ...

    def heard(self, step: Step, news: News, rate: float) -> list[Command]:
        """A step has ended; `rate` is the takeover rate that the target's load permits now."""
        ...

    def failed(self, step: Step) -> list[Command]:
        """A step will never end."""
        ...
