"""Workflows as a client declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ROUTE = "/agentserve/v1/workflows"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: serial behind those that it comes `after`; two that come after the same one are parallel.

    `parallel` calls of it run side by side, and `retries` more may follow, one after the other.
    """

    after: Sequence[str] = ()
    parallel: int = 1
    retries: int = 0


def declaration(name: str, stages: Mapping[str, Stage], slo: float | None) -> dict[str, Any]:
    """The body of a declaration."""
    said: dict[str, Any] = {"name": name, "stages": {stage: asdict(plan) for stage, plan in stages.items()}}
    return said if slo is None else said | {"slo": slo}
