"""How stale samples may be: AReaL's bound on what is submitted (arXiv 2505.24298, section 5.1).

A trainer takes `batch` samples a step and makes a version of each step. With v the present version, the sample number k
(from 0) is trained on at step floor(k / batch), so its lag is floor(k / batch) - v at least. AReaL submits one only if

    floor((N_r - 1) / batch) <= v + lag        (N_r: samples submitted, this one included)

Samples that will not be trained on (aborted, failed) are taken back. Versions count from the one that was there when the
first sample was submitted, so that a run may begin at any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """What a trainer allows.

    Attributes:
        batch: samples that make a version.
        lag: how many versions the weights that write a sample may be behind those that are trained with it.
    """

    batch: int
    lag: int


class Submitted:
    """The samples of one model, counted against a bound; without one, nothing is too stale."""

    def __init__(self, bound: Bound | None) -> None:
        self.bound = bound
        self.samples = 0
        """Submitted and not taken back."""
        self._first: int | None = None
        """The version at the first sample."""

    @property
    def most(self) -> float:
        """Samples of the largest group that can ever be admitted."""
        return math.inf if self.bound is None else self.bound.batch * (self.bound.lag + 1)

    def lag(self, samples: int, version: int) -> int:
        """How many versions behind the last of so many samples more would be, at the least."""
        if self.bound is None:
            return 0
        since = version - (version if self._first is None else self._first)
        return max(0, (self.samples + samples - 1) // self.bound.batch - since)

    def refuses(self, samples: int, version: int) -> bool:
        """Whether a group of so many samples would be too stale."""
        return self.bound is not None and self.lag(samples, version) > self.bound.lag

    def submit(self, samples: int, version: int) -> None:
        """A group begins."""
        if self._first is None:
            self._first = version
        self.samples += samples

    def take_back(self, samples: int) -> None:
        """So many will not be trained on."""
        self.samples -= samples

    def outdated(self, oldest: int, latest: int) -> bool:
        """Whether a sample with tokens of the version `oldest` is too stale once there is `latest`."""
        return self.bound is not None and latest - oldest > self.bound.lag
