"""The policy in force with every parameter, those included that have their usual value."""

from __future__ import annotations

from inspect import Parameter, signature

from scheduler.policy import KINDS, Choice, PolicyConfig
from scheduler.registry import POLICIES
from scheduler.types import Seconds


def told(policy: PolicyConfig, at: Seconds) -> dict[str, object]:
    """A policy as the feed tells it; `at` is since when it has been in force, as far as is known."""
    parts = {kind: _part(kind, getattr(policy, kind)) for kind in KINDS}
    return {"at": round(at, 3), "name": policy.name, "parts": parts}


def _part(kind: str, choice: Choice) -> dict[str, object]:
    known = signature(POLICIES[kind][choice.name]).parameters.values()
    usual = {each.name: each.default for each in known if each.default is not Parameter.empty}
    return {"name": choice.name, "parameters": {**usual, **dict(choice.params)}}
