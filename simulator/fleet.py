"""The engines of a simulation: what each is made of."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.engine import EngineConfig
from simulator.profile import StepProfile


@dataclass(frozen=True, slots=True)
class EngineModel:
    """One engine of a fleet."""

    name: str
    """Unique within the fleet."""
    hardware: str
    """What a person calls it: `A100:w4`."""
    config: EngineConfig
    profile: StepProfile
    plugin: bool = True
    """Whether it keeps the KV of programs through their gaps when told to."""
