"""How fast an engine works, from answers that came in one piece, so that nobody saw their first token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from scheduler.types import Seconds, StepCost, Tokens

MEMORY = 50
"""Calls after which an older one weighs a third of a new one."""
ENOUGH = 6
"""Calls before a fit is worth more than a guess."""
PARALLEL = 0.999
"""Squared cosine from which prefilled and generated tokens cannot be told apart."""


@dataclass(slots=True)
class Pace:
    """Least squares of a call's seconds over the tokens prefilled until its first, and those it generated:

        seconds = prefill_token * prefilled + step * generated,  neither coefficient below zero

    The fields are sums over calls, of which older ones fade.
    """

    calls: float = 0.0
    pp: float = 0.0
    pg: float = 0.0
    gg: float = 0.0
    ps: float = 0.0
    gs: float = 0.0

    def add(self, prefilled: Tokens, generated: Tokens, seconds: Seconds) -> None:
        """One call, from when it was sent to the engine until its answer was there."""
        keep = 1.0 - 1.0 / MEMORY
        self.calls = keep * self.calls + 1.0
        self.pp = keep * self.pp + prefilled * prefilled
        self.pg = keep * self.pg + prefilled * generated
        self.gg = keep * self.gg + generated * generated
        self.ps = keep * self.ps + prefilled * seconds
        self.gs = keep * self.gs + generated * seconds

    @property
    def steps(self) -> StepCost | None:
        """What the engine's steps take, batched as they have been of late; None while too little is known."""
        if self.calls < ENOUGH or not self.gs:
            return None
        return StepCost(*self._fit())

    def _fit(self) -> tuple[Seconds, Seconds]:
        """A decode step, and a prefilled token."""
        alone = self.gs / self.gg
        if self.pg * self.pg > PARALLEL * self.pp * self.gg or not self.pp:
            return alone, 0.0
        determinant = self.pp * self.gg - self.pg * self.pg
        token = (self.ps * self.gg - self.gs * self.pg) / determinant
        step = (self.gs * self.pp - self.ps * self.pg) / determinant
        if token < 0:
            return alone, 0.0
        return (step, token) if step > 0 else (0.0, self.ps / self.pp)

    def to_json(self) -> list[float]:
        """The sums."""
        return list(astuple(self))

    @classmethod
    def from_json(cls, sums: Sequence[float]) -> Pace:
        """The inverse of `to_json`.

        Raises:
            TypeError: there are too many of them.
        """
        return cls(*sums)
