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
    order: Choice = field(default=Choice("program_fcfs"))
    placement: Choice = field(default=Choice("sticky"))
    admission: Choice = field(default=Choice("working_set"))
    retention: Choice = field(default=Choice("continuum"))


_PINNED_FIRST = Choice("program_fcfs", (("pinned_first", True),))
_THUNDERAGENT_CODE = Choice("thunderagent", (("decay", 1.0), ("marks_free", False), ("shared_credit", False)))

PRESETS: Mapping[str, PolicyConfig] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            PolicyConfig(
                "vllm",
                order=Choice("fcfs"),
                placement=Choice("least_loaded"),
                admission=Choice("unlimited"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "fcfs_ttl",
                order=Choice("program_fcfs"),
                placement=Choice("sticky"),
                admission=Choice("unlimited"),
                retention=Choice("fixed_ttl", (("ttl", 2.0),)),
            ),
            PolicyConfig(
                "continuum",
                order=_PINNED_FIRST,
                placement=Choice("sticky"),
                admission=Choice("unlimited"),
                retention=Choice("continuum"),
            ),
            PolicyConfig(
                "continuum_code",
                order=_PINNED_FIRST,
                placement=Choice("sticky"),
                admission=Choice("unlimited"),
                retention=Choice("continuum_code"),
            ),
            PolicyConfig(
                "thunderagent",
                order=Choice("fcfs"),
                placement=Choice("thunderagent"),
                admission=Choice("thunderagent"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "thunderagent_code",
                order=Choice("fcfs"),
                placement=_THUNDERAGENT_CODE,
                admission=_THUNDERAGENT_CODE,
                retention=Choice("none"),
            ),
            PolicyConfig(
                "vllm_router",
                order=Choice("fcfs"),
                placement=Choice("vllm_router"),
                admission=Choice("vllm_router"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "autellix",
                order=Choice("attained_service"),
                placement=Choice("short_anywhere"),
                admission=Choice("unlimited"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "infercept",
                order=Choice("program_fcfs"),
                placement=Choice("sticky"),
                admission=Choice("unlimited"),
                retention=Choice("preserve_discard"),
            ),
            PolicyConfig(
                "hexgen",
                order=Choice("urgency"),
                placement=Choice("balanced"),
                admission=Choice("memory"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "hexgen_code",
                order=Choice("urgency", (("shared_workflow", True),)),
                placement=Choice("balanced", (("alpha", 0.0), ("cumulative", True), ("slow_weight", 0.5))),
                admission=Choice("memory"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "llmd_las",
                order=Choice("least_attained"),
                placement=Choice("sticky"),
                admission=Choice("saturation"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "past_future",
                order=Choice("fcfs"),
                placement=Choice("short_anywhere", (("short", 0),)),
                admission=Choice("past_future"),
                retention=Choice("none"),
            ),
            PolicyConfig(
                "agentserve",
                order=Choice("program_fcfs"),
                placement=Choice("sticky"),
                admission=Choice("working_set"),
                retention=Choice("fixed_ttl", (("ttl", 30.0),)),
            ),
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
