"""Who plays: orders on our placement, the published comparators, and ours with parts left out or with another alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.policy import PRESETS, Choice, PolicyConfig

OURS = "urgency"
FCFS = "fcfs"
ROUND_ROBIN = "fcfs, round robin"
ALPHAS = (0.0, 0.3, 0.5)

BASE = PolicyConfig(OURS, Choice("none"), Choice(OURS), Choice("least_delay"), Choice("memory"), Choice("none"))
"""Urgency with the placement, the admission and the retention that all orders are compared with."""


def _ordered(name: str, order: Choice) -> PolicyConfig:
    return replace(BASE, name=name, order=order)


ORDERS: Mapping[str, PolicyConfig] = {
    OURS: BASE,
    **{name: _ordered(name, Choice(name)) for name in (FCFS, "edf", "least_laxity", "modified_due_date")},
}
PUBLISHED: Mapping[str, PolicyConfig] = {
    ROUND_ROBIN: PolicyConfig(
        ROUND_ROBIN, Choice("none"), Choice("fcfs"), Choice("round_robin"), Choice("unlimited"), Choice("none")
    )
}
MAIN: Mapping[str, PolicyConfig] = {**PUBLISHED, **ORDERS}
"""Those that play every cell."""
RIVALS: Mapping[str, PolicyConfig] = {name: PRESETS[name] for name in ("hexgen", "hexgen_code", "agentserve")}
FURTHER: Mapping[str, PolicyConfig] = {
    "program_fcfs": _ordered("program_fcfs", Choice("program_fcfs")),
    "expected_remaining": _ordered("expected_remaining", Choice("expected_remaining")),
}
"""Further orders, in the cells where parts are compared."""
ABLATIONS: Mapping[str, PolicyConfig] = {
    "urgency only": replace(BASE, placement=Choice("round_robin"), admission=Choice("unlimited")),
    "without late binding": replace(BASE, admission=Choice("unlimited")),
    "whole-query deadline": _ordered("whole-query deadline", Choice(OURS, (("shared_workflow", True),))),
}
"""Ours with a part replaced by a plain one. Dispatch alone is `fcfs`."""
SWEEP: Mapping[str, PolicyConfig] = {
    f"alpha {alpha:g}": replace(BASE, placement=Choice("balanced", (("alpha", alpha),))) for alpha in ALPHAS
}
ASIDE: Mapping[str, PolicyConfig] = {**RIVALS, **FURTHER, **ABLATIONS, **SWEEP}
"""Those that play the cells where parts are compared."""
CONTENDERS: Mapping[str, PolicyConfig] = {**MAIN, **ASIDE}
