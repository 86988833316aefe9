"""Who plays: orders on our placement, the published comparators, and ours with parts left out or with another alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.policy import PRESETS, Choice, PolicyConfig

OURS = "text2sql"
URGENCY = "urgency"
FCFS = "fcfs"
ROUND_ROBIN = "fcfs, round robin"
ALPHAS = (0.0, 0.3, 0.5)

BASE = PRESETS[OURS]
"""Its placement, admission and retention are those that all orders are compared with. Its admission holds back calls
that the order calls lost; under the other orders, which call none so, it is `memory`."""


def _ordered(name: str, order: Choice) -> PolicyConfig:
    return replace(BASE, name=name, order=order)


ORDERS: Mapping[str, PolicyConfig] = {
    OURS: BASE,
    **{name: _ordered(name, Choice(name)) for name in (FCFS, "edf", "least_laxity", "modified_due_date", URGENCY)},
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
    "order only": replace(BASE, placement=Choice("round_robin"), admission=Choice("unlimited")),
    "lost calls not held back": replace(BASE, admission=Choice("memory")),
}
"""Ours with a part replaced by a plain one. Dispatch alone is `fcfs`; without lost calls it is `edf`."""
URGENT = ORDERS[URGENCY]
URGENCIES: Mapping[str, PolicyConfig] = {
    "urgency only": replace(URGENT, placement=Choice("round_robin"), admission=Choice("unlimited")),
    "without late binding": replace(URGENT, admission=Choice("unlimited")),
    "whole-query deadline": _ordered("whole-query deadline", Choice(URGENCY, (("shared_workflow", True),))),
}
"""HexGen's order on our placement, with a part replaced: the last has no budgets by stage."""
SWEEP: Mapping[str, PolicyConfig] = {
    f"alpha {alpha:g}": replace(URGENT, placement=Choice("balanced", (("alpha", alpha),))) for alpha in ALPHAS
}
"""The same order on HexGen's placement."""
ASIDE: Mapping[str, PolicyConfig] = {**ABLATIONS, **RIVALS, **FURTHER, **URGENCIES, **SWEEP}
"""Those that play the cells where parts are compared."""
CONTENDERS: Mapping[str, PolicyConfig] = {**MAIN, **ASIDE}
