"""The folder of public traces, where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("AGENTSERVE_TRACES", Path(__file__).parents[4] / "shared" / "traces"))


def corpus(name: str) -> Path:
    """A public trace; skips the test where it is not."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"{path} does not exist; AGENTSERVE_TRACES may name the folder of public traces")
    return path
