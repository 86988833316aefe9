"""A validation as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from agentserve.validation.trial import Trial

FORMAT = "agentserve-validation/1"


def document(trials: Sequence[Trial], *, within: bool, command: str = "") -> dict[str, object]:
    """The figures of every repetition on both sides, and whether the simulator kept every bound."""
    return {"format": FORMAT, "command": command, "within": within, "trials": [asdict(trial) for trial in trials]}
