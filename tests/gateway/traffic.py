"""Recorded traffic, made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scheduler.types import EngineId
from workloads.traces.recording import RECORDING, RecordedCall

ENGINE = EngineId("a")


def call(
    arrived: float, took: float, program: str = "p", prompt: int = 100, output: int = 11, cached: int = 0
) -> RecordedCall:
    """A call that is dispatched at once, and whose first token takes a tenth of its time."""
    return RecordedCall(
        program=program,
        arrived_s=arrived,
        ended_s=arrived + took,
        model="m",
        prompt_bytes=4 * prompt,
        engine=ENGINE,
        first_token_s=arrived + took / 10,
        prompt_tokens=prompt,
        cached_tokens=cached,
        output_tokens=output,
    )


def recording(path: Path, calls: Sequence[RecordedCall]) -> Path:
    path.write_bytes(RECORDING.header + b"".join(map(RECORDING.line, calls)))
    return path
