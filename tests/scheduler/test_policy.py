from __future__ import annotations

import pytest

from scheduler.policy import PRESETS, Choice, PolicyError, parse_policy
from scheduler.registry import build


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_can_be_built(name: str) -> None:
    assert parse_policy(name) is PRESETS[name]
    build(PRESETS[name])


def test_a_mapping_replaces_kinds_of_the_default() -> None:
    policy = parse_policy({"retention": {"fixed_ttl": {"ttl": 5}}, "order": "fcfs"})
    assert policy.retention == Choice("fixed_ttl", (("ttl", 5),))
    assert policy.admission == PRESETS["agentserve"].admission
    build(policy)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("continum", "did you mean 'continuum'"),
        (7, "policy must be"),
        ({"retenton": "none"}, "did you mean 'retention'"),
        ({"retention": {"fixed_ttl": {}, "none": {}}}, "policy.retention must be"),
        ({"retention": 3}, "policy.retention must be"),
    ],
)
def test_a_policy_that_cannot_be_read_is_an_error(value: object, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"order": "fifo"}, "unknown order policy 'fifo'; did you mean 'fcfs'"),
        ({"retention": {"fixed_ttl": {"tll": 1}}}, "did you mean 'ttl'"),
        ({"retention": {"fixed_ttl": {"ttl": "long"}}}, "ttl must be of type float"),
        ({"retention": {"fixed_ttl": {"ttl": True}}}, "ttl must be of type float"),
        ({"retention": {"none": {"ttl": 1}}}, "takes no parameters"),
    ],
)
def test_unknown_policies_and_parameters_are_errors(value: object, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        build(parse_policy(value))
