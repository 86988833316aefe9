"""Who plays: orders on our placement, the published comparators, and ours with parts left out or with another alpha."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scheduler.policy import PRESETS, Choice, PolicyConfig

PRESET = "hexgen"
OURS = "urgency"
FCFS = "fcfs"
ROUND_ROBIN = "fcfs, round robin"
ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.5)

_BASE = PRESETS[PRESET]
ORDERS: Mapping[str, PolicyConfig] = {
    OURS: _BASE,
    **{
        name: replace(_BASE, name=name, order=Choice(name))
        for name in (FCFS, "edf", "least_laxity", "modified_due_date")
    },
}
"""All with our placement."""
PUBLISHED: Mapping[str, PolicyConfig] = {
    ROUND_ROBIN: PolicyConfig(
        ROUND_ROBIN, Choice("none"), Choice("fcfs"), Choice("round_robin"), Choice("unlimited"), Choice("none")
    )
}
MAIN: Mapping[str, PolicyConfig] = {**PUBLISHED, **ORDERS}
"""Those that play every cell."""
RIVALS: Mapping[str, PolicyConfig] = {name: PRESETS[name] for name in ("hexgen", "hexgen_code", "agentserve")}
ABLATIONS: Mapping[str, PolicyConfig] = {
    "urgency only": replace(_BASE, placement=Choice("round_robin")),
    "whole-query deadline": replace(_BASE, order=Choice("urgency", (("shared_workflow", True),))),
}
"""Ours with a part replaced by a plain one. Dispatch alone is `fcfs`."""
SWEEP: Mapping[str, PolicyConfig] = {
    f"alpha {alpha:g}": replace(_BASE, placement=Choice("balanced", (("alpha", alpha),))) for alpha in ALPHAS
}
CONTENDERS: Mapping[str, PolicyConfig] = {**MAIN, **RIVALS, **ABLATIONS, **SWEEP}
