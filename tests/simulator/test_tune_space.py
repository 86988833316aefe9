"""What a search may change: every number of every policy is either given a range or named as fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace

import pytest

from scheduler import registry
from scheduler.policy import PRESETS, Choice, PolicyConfig, PolicyError
from scheduler.registry import build
from simulator.tune.space import FIXED, PUBLISHED, RANGES, Parameter, Range, Scale, knobs, rounded, with_values

KNOWN: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "fairness": registry.FAIRNESS,
    "order": registry.ORDER,
    "placement": registry.PLACEMENT,
    "admission": registry.ADMISSION,
    "retention": registry.RETENTION,
}


def numbers() -> Iterator[tuple[Parameter, float]]:
    """Every numeric parameter of every policy, with its default."""
    for kind, policies in KNOWN.items():
        for name, policy in policies.items():
            for item in fields(policy):  # type: ignore[arg-type]
                if isinstance(item.default, int | float) and not isinstance(item.default, bool):
                    yield Parameter(kind, name, item.name), item.default


def test_every_number_of_every_policy_has_a_range_or_is_fixed() -> None:
    declared = [*RANGES, *FIXED]
    assert len(set(declared)) == len(declared), "a parameter is in both tables of simulator/tune/space.py"
    known = {parameter for parameter, _ in numbers()}
    assert set(declared) <= known, "see the tables in simulator/tune/space.py"
    assert {parameter.policy for parameter in known - set(declared)} <= PUBLISHED, "see simulator/tune/space.py"


def test_defaults_lie_within_their_ranges() -> None:
    for parameter, default in numbers():
        if parameter in RANGES:
            bounds = RANGES[parameter]
            assert bounds.low <= default <= bounds.high, parameter
            assert bounds.low > 0 or bounds.scale is Scale.LINEAR, parameter


def test_knobs_are_those_of_the_chosen_policies_with_their_present_values() -> None:
    placed = replace(PRESETS["agentserve"], placement=Choice("sticky"))
    found = {str(knob.parameter): knob.default for knob in knobs(placed, engines=2)}
    assert found["order.expected_remaining.ageing"] == 0.3
    assert found["admission.working_set.growth"] == 0.5
    assert found["retention.break_even.loss"] == 1.0
    assert found["placement.sticky.margin"] == 1.5
    assert not any("continuum" in name for name in found)


def test_one_engine_leaves_nothing_to_place() -> None:
    placed = replace(PRESETS["agentserve"], placement=Choice("sticky"))
    assert all(knob.parameter.kind != "placement" for knob in knobs(placed, engines=1))


def test_a_policy_without_numbers_cannot_be_searched() -> None:
    with pytest.raises(PolicyError, match="'vllm' has no parameter to search"):
        knobs(PRESETS["vllm"], engines=2)


def test_values_go_where_they_belong_and_leave_the_rest() -> None:
    growth, ttl = Parameter("admission", "working_set", "growth"), Parameter("retention", "fixed_ttl", "ttl")
    start = PolicyConfig(admission=Choice("working_set", (("limit", 0.9),)), retention=Choice("fixed_ttl"))
    policy = with_values(start, {growth: 0.25, ttl: 7.0})
    assert policy.admission == Choice("working_set", (("growth", 0.25), ("limit", 0.9)))
    assert policy.retention == Choice("fixed_ttl", (("ttl", 7.0),))
    assert (policy.order, policy.placement) == (start.order, start.placement)
    build(policy)


@pytest.mark.parametrize(
    ("value", "short"), [(0.0, 0.0), (123.456, 123.0), (0.0123456, 0.0123), (-1.2345, -1.23), (9.999, 10.0)]
)
def test_values_have_three_digits(value: float, short: float) -> None:
    assert rounded(value) == short


def test_a_value_outside_is_told_to_the_search_as_the_nearest_inside() -> None:
    assert [Range(1.0, 2.0).clip(value) for value in (0.0, 1.5, 3.0)] == [1.0, 1.5, 2.0]
