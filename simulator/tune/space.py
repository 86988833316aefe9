"""Which parameters of which policies a search may change, and within which bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from scheduler.policy import KINDS, Choice, PolicyConfig, PolicyError, Value
from scheduler.registry import build

DIGITS = 3
"""Significant digits of a value that is tried: what is simulated is what a person reads in the policy file."""


class Scale(StrEnum):
    """Whether equal steps of a search are equal differences or equal ratios."""

    LINEAR = "linear"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are worth trying."""

    low: float
    high: float
    scale: Scale = Scale.LINEAR

    def clip(self, value: float) -> float:
        """The nearest value within."""
        return min(max(value, self.low), self.high)


class Parameter(NamedTuple):
    """A parameter by the kind and the name of its policy."""

    kind: str
    policy: str
    name: str

    def __str__(self) -> str:
        return ".".join(self)


RANGES: Mapping[Parameter, Range] = {
    Parameter("order", "expected_remaining", "ageing"): Range(0.03, 10.0, Scale.LOG),
    Parameter("order", "punctual", "laxity"): Range(0.0, 3.0),
    Parameter("order", "punctual", "margin"): Range(0.0, 2.0),
    Parameter("order", "punctual", "slo_scale"): Range(2.0, 15.0, Scale.LOG),
    Parameter("order", "urgency", "slo_scale"): Range(2.0, 15.0, Scale.LOG),
    Parameter("placement", "sticky", "margin"): Range(1.0, 10.0, Scale.LOG),
    Parameter("placement", "balanced", "alpha"): Range(0.0, 0.9),
    Parameter("admission", "working_set", "limit"): Range(0.6, 1.5),
    Parameter("admission", "working_set", "growth"): Range(0.0, 1.5),
    Parameter("retention", "break_even", "loss"): Range(0.25, 4.0, Scale.LOG),
    Parameter("retention", "fixed_ttl", "ttl"): Range(1.0, 300.0, Scale.LOG),
    Parameter("retention", "continuum", "bridge"): Range(0.5, 30.0, Scale.LOG),
}
"""Every parameter that a search changes."""

FIXED: Mapping[Parameter, str] = {
    Parameter("retention", "break_even", "bridge"): "covers a control message's way; nothing depends on its length",
    Parameter("retention", "continuum", "k"): "a constant of the published rule",
}
"""The numbers that a search leaves alone, and why."""

PUBLISHED = frozenset(
    {
        "attained_service",
        "balanced",
        "continuum_code",
        "edf",
        "in_time",
        "least_attained",
        "least_laxity",
        "memory",
        "modified_due_date",
        "past_future",
        "preserve_discard",
        "saturation",
        "short_anywhere",
        "thunderagent",
        "urgency",
        "virtual_token_counter",
        "vllm_router",
    }
)
"""Policies whose other numbers are constants of the rules they follow."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A parameter to be searched, and the value it has now."""

    parameter: Parameter
    range: Range
    default: float


def knobs(policy: PolicyConfig, engines: int) -> tuple[Knob, ...]:
    """The parameters of a policy that a search changes on so many engines. One engine leaves nothing to place.

    Raises:
        PolicyError: the policy names something unknown, or has no such parameter.
    """
    built = build(policy)
    found = tuple(
        Knob(parameter, bounds, float(getattr(getattr(built, parameter.kind), parameter.name)))
        for parameter, bounds in RANGES.items()
        if _choice(policy, parameter.kind).name == parameter.policy and (engines > 1 or parameter.kind != "placement")
    )
    if not found:
        raise PolicyError(f"the policy {policy.name!r} has no parameter to search")
    return found


def with_values(policy: PolicyConfig, values: Mapping[Parameter, float], name: str = "tuned") -> PolicyConfig:
    """The policy with other values of some of its parameters."""
    choices = {kind: _choice(policy, kind) for kind in KINDS}
    for parameter, value in values.items():
        choice = choices[parameter.kind]
        params: dict[str, Value] = {**dict(choice.params), parameter.name: value}
        choices[parameter.kind] = Choice(choice.name, tuple(sorted(params.items())))
    return replace(policy, name=name, **choices)


def rounded(value: float) -> float:
    """A value to three significant digits."""
    if value == 0:
        return 0.0
    return round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))


def _choice(policy: PolicyConfig, kind: str) -> Choice:
    choice: Choice = getattr(policy, kind)
    return choice
