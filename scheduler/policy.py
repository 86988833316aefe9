"""Which policies a brain runs, as data: five names with parameters, and the presets that bundle them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool
KINDS = ("fairness", "order", "placement", "admission", "retention")


class PolicyError(ValueError):
    """A policy that cannot be built. The message names the key and the nearest valid one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One policy by name, with the parameters that differ from its defaults."""

    name: str
    params: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        if not self.params:
            return self.name
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.params)})"


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """The five policies a brain asks, in the order it asks them."""

    name: str = "custom"
    fairness: Choice = field(default=Choice("none"))
    order: Choice = field(default=Choice("expected_remaining"))
    placement: Choice = field(default=Choice("least_delay"))
    admission: Choice = field(default=Choice("working_set"))
    retention: Choice = field(default=Choice("break_even"))


def _preset(
    name: str,
    order: str | Choice,
    placement: str | Choice,
    admission: str | Choice,
    retention: str | Choice,
) -> PolicyConfig:
    choices = (Choice(part) if isinstance(part, str) else part for part in (order, placement, admission, retention))
    return PolicyConfig(name, Choice("none"), *choices)


_PINNED_FIRST = Choice("program_fcfs", (("pinned_first", True),))
_THUNDERAGENT_CODE = Choice("thunderagent", (("decay", 1.0), ("marks_free", False), ("shared_credit", False)))
_HEXGEN_CODE = Choice("balanced", (("alpha", 0.0), ("cumulative", True), ("slow_weight", 0.5)))

PRESETS: Mapping[str, PolicyConfig] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            _preset("vllm", "fcfs", "least_loaded", "unlimited", "none"),
            _preset("fcfs_ttl", "program_fcfs", "sticky", "unlimited", Choice("fixed_ttl", (("ttl", 2.0),))),
            _preset("continuum", _PINNED_FIRST, "sticky", "unlimited", "continuum"),
            _preset("continuum_code", _PINNED_FIRST, "sticky", "unlimited", "continuum_code"),
            _preset("thunderagent", "fcfs", "thunderagent", "thunderagent", "none"),
            _preset("thunderagent_code", "fcfs", _THUNDERAGENT_CODE, _THUNDERAGENT_CODE, "none"),
            _preset("vllm_router", "fcfs", "vllm_router", "vllm_router", "none"),
            _preset("autellix", "attained_service", "short_anywhere", "unlimited", "none"),
            _preset("infercept", "program_fcfs", "sticky", "unlimited", "preserve_discard"),
            _preset("hexgen", "urgency", "balanced", "memory", "none"),
            _preset("hexgen_code", Choice("urgency", (("shared_workflow", True),)), _HEXGEN_CODE, "memory", "none"),
            _preset("llmd_las", "least_attained", "sticky", "saturation", "none"),
            _preset("past_future", "fcfs", Choice("short_anywhere", (("short", 0),)), "past_future", "none"),
            _preset("text2sql", "punctual", "least_delay", "in_time", "none"),
            _preset("agentserve", "expected_remaining", "least_delay", "working_set", "break_even"),
        )
    }
)


def unknown(what: str, name: str, valid: list[str]) -> PolicyError:
    """The error for a name that is not one of `valid`."""
    near = difflib.get_close_matches(name, valid, 1, cutoff=0.0)
    return PolicyError(f"unknown {what} {name!r}; did you mean {near[0]!r}? (valid: {', '.join(valid)})")


def parse_policy(value: object) -> PolicyConfig:
    """Reads a preset's name, or a mapping of kind to `name` or `{name: {parameter: value}}`.

    Kinds that a mapping leaves out are the default preset's. Names of policies and of their parameters are checked
    where the policies are built.

    Raises:
        PolicyError: the value is neither, or names an unknown preset or kind.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            raise unknown("policy preset", value, list(PRESETS))
        return PRESETS[value]
    if not isinstance(value, Mapping):
        raise PolicyError(f"policy must be a preset's name or a mapping of {', '.join(KINDS)}, not {value!r}")
    base = PRESETS["agentserve"]
    chosen = {item.name: getattr(base, item.name) for item in fields(base) if item.name != "name"}
    for kind, choice in value.items():
        if kind not in KINDS:
            raise unknown("policy kind", str(kind), list(KINDS))
        chosen[str(kind)] = _parse_choice(str(kind), choice)
    return PolicyConfig("custom", **chosen)


def _parse_choice(kind: str, value: object) -> Choice:
    if isinstance(value, str):
        return Choice(value)
    if isinstance(value, Mapping) and len(value) == 1:
        ((name, params),) = value.items()
        if isinstance(params, Mapping) and all(isinstance(item, Value) for item in params.values()):
            return Choice(str(name), tuple(sorted((str(key), item) for key, item in params.items())))
    raise PolicyError(f"policy.{kind} must be a name or {{name: {{parameter: value}}}}, not {value!r}")
