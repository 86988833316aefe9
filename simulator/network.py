"""How long messages travel between a client, the gateway and an engine."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from scheduler.types import Seconds
from workloads.distributions import Distribution


@dataclass(frozen=True, slots=True)
class Constant:
    """The same delay for everyone."""

    seconds: Seconds

    def draw(self, rng: Random) -> Seconds:
        return self.seconds


@dataclass(frozen=True, slots=True)
class Legs:
    """One-way delays of one program: from its client to the gateway, and from there to an engine."""

    client: Seconds
    engine: Seconds


@dataclass(frozen=True, slots=True)
class Network:
    """One-way delays in seconds. A program stays where it is: its delays are drawn once."""

    client: Distribution = Constant(0.0)
    engine: Distribution = Constant(0.0)

    def legs(self, rng: Random) -> Legs:
        """The delays of one program; a negative draw counts as 0."""
        return Legs(max(0.0, self.client.draw(rng)), max(0.0, self.engine.draw(rng)))
