"""From timings to a step profile: least squares of the relative error, with coefficients that are not negative."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from statistics import fmean, median

from scheduler.types import Seconds, Tokens
from simulator.calibrate import nnls
from simulator.calibrate.observation import Observation, Regime
from simulator.profile import FitError, StepProfile

FLOORS: tuple[Tokens, ...] = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The values of `token_floor` that are tried; a GPU's ridge lies between them."""

FLOOR_GAIN = 0.9
"""A floor is accepted if it shrinks the root of the mean square error to this share: the smaller model is preferred."""

SHORTEST_STEP: Seconds = 1e-6


class FitFailedError(ValueError):
    """The timings cannot tell what a step costs. The message says which are missing."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted profile, what a request costs outside the steps, and how far the timings are from both."""

    profile: StepProfile
    request_overhead: Seconds
    errors: Mapping[str, FitError]


def fit(observations: Sequence[Observation], name: str, source: str) -> Fit:
    """Fits a profile to the medians of repeated timings; the errors are those of single ones.

    Raises:
        FitFailedError: prefill or decode was not timed at two points at least.
    """
    for regime in (Regime.PREFILL, Regime.DECODE):
        if len({item.point for item in observations if item.regime is regime}) < 2:
            raise FitFailedError(f"{regime} was timed at fewer than two points")
    typical = _medians(observations)
    best = _fit_at(0, typical, name, source)
    bar = FLOOR_GAIN * best.spread(typical)
    for floor in FLOORS:
        candidate = _fit_at(floor, typical, name, source)
        if candidate.spread(typical) < bar:
            best, bar = candidate, candidate.spread(typical)
    return Fit(best.profile, best.request_overhead, best.errors(observations))


@dataclass(frozen=True, slots=True)
class _Candidate:
    profile: StepProfile
    request_overhead: Seconds

    def error(self, item: Observation) -> float:
        """The relative error of one timing: above 0 if the profile says longer."""
        steps = sum(self.profile.seconds(work) for work in item.steps)
        return (steps + self.request_overhead * item.whole_request) / item.seconds - 1

    def spread(self, observations: Iterable[Observation]) -> float:
        return sqrt(fmean(self.error(item) ** 2 for item in observations))

    def errors(self, observations: Sequence[Observation]) -> dict[str, FitError]:
        found: dict[str, FitError] = {}
        for regime in Regime:
            sizes = sorted(abs(self.error(item)) for item in observations if item.regime is regime)
            if sizes:
                found[regime.value] = FitError(len(sizes), median(sizes), sizes[int(0.9 * (len(sizes) - 1) + 0.5)])
        return found


def _medians(observations: Iterable[Observation]) -> list[Observation]:
    """Of repeated timings the one in the middle."""
    ordered = sorted(observations, key=lambda item: (item.regime, item.point, item.seconds))
    groups = (list(group) for _, group in groupby(ordered, key=lambda item: (item.regime, item.point)))
    return [group[(len(group) - 1) // 2] for group in groups]


def _fit_at(floor: Tokens, observations: Sequence[Observation], name: str, source: str) -> _Candidate:
    rows = [[value / item.seconds for value in _features(item, floor)] for item in observations]
    constant, prefill, attention, request, context, outside, token = nnls.solve(rows, [1.0] * len(rows))
    profile = StepProfile(
        name,
        source,
        constant=max(constant, SHORTEST_STEP),
        prefill_token=prefill,
        prefill_attention=attention,
        decode_request=request,
        decode_context=context,
        token=token,
        token_floor=floor,
    )
    return _Candidate(profile, outside)


def _features(item: Observation, floor: Tokens) -> list[float]:
    """What each coefficient is multiplied with. Without a floor, `token` would only repeat two others."""
    return [
        len(item.steps),
        sum(work.prefill_tokens for work in item.steps),
        sum(work.prefill_attention for work in item.steps),
        sum(work.decode_batch for work in item.steps),
        sum(work.decode_context for work in item.steps),
        float(item.whole_request),
        sum(max(floor, work.prefill_tokens + work.decode_batch) for work in item.steps) if floor else 0.0,
    ]
