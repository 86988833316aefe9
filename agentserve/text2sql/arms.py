"""The two sides of the comparison: gateways that differ in nothing but their policy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from agentserve.engines.base import Progress
from agentserve.text2sql.engines import MODEL_NAME, Engines, names
from agentserve.validation.served import ServedGateway
from scheduler.policy import parse_policy

POLICY: str | Mapping[str, object] = "agentserve"
"""agentserve's policy for Text-to-SQL. This is the only place that says which it is."""
ROUND_ROBIN: Mapping[str, object] = {
    "order": "fcfs",
    "placement": "round_robin",
    "admission": "unlimited",
    "retention": "none",
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One side. `policy` is as in a gateway's configuration."""

    name: str
    policy: str | Mapping[str, object]

    def gateway(self, engines: Engines, folder: Path, progress: Progress) -> AbstractAsyncContextManager[ServedGateway]:
        """Its gateway in front of engines that are up. What it learned before, it knows."""
        config = {"pools": [{"model": MODEL_NAME, "engines": engines.sections}]}
        file_name = self.name.replace(" ", "-")
        state = folder / f"{file_name}.state.json"
        policy = parse_policy(self.policy)
        return ServedGateway(config, policy, folder, file_name, names(engines), progress, state)


BASELINE = Arm("round robin", ROUND_ROBIN)
OURS = Arm("agentserve", POLICY)
ARMS = (BASELINE, OURS)
