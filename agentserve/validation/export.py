"""A validation as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from agentserve.validation.trial import Trial
from simulator.whole import write_whole

FORMAT = "agentserve-validation/1"


def write_json(path: Path, trials: Sequence[Trial], command: str = "") -> None:
    """Writes the figures of every repetition on both sides.

    Raises:
        OSError: it cannot be written there; what was at the path before is untouched.
    """
    content = {"format": FORMAT, "command": command, "trials": [asdict(trial) for trial in trials]}
    write_whole(path, [json.dumps(content, indent=1), "\n"])
