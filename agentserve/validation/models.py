"""The engines of a gateway as models: sizes as probed, step times of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentserve.config import Config, Emulated
from agentserve.engines.base import EngineError
from agentserve.validation.served import ServedEngine
from scheduler.types import Seconds, Tokens
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel, probed
from simulator.profile import CPU_SMOLLM2, ProfileError, SavedProfile, StepProfile, read_profile


@dataclass(frozen=True, slots=True)
class Untold:
    """What an engine does not tell when it is probed."""

    hardware: str
    profile: StepProfile
    max_num_batched_tokens: Tokens
    request_overhead: Seconds = 0.0


def untold(config: Config, model: str, saved: SavedProfile | None) -> dict[str, Untold]:
    """Of each engine that is to serve the model, by name. Nothing has to run yet.

    An emulated engine has the profile that it is emulated by; every other one has `saved`.

    Raises:
        ProfileError: an engine has no profile, one of another model, or one whose speed it does not keep.
        OSError: an emulated engine's profile cannot be read.
    """
    sections = [section for pool, section in config.engines if pool.model == model]
    return {
        section.name: (
            _measured(section.name, model, saved)
            if section.emulated is None
            else _emulated(section.name, section.emulated)
        )
        for section in sections
    }


def modelled(engines: Sequence[ServedEngine], known: Mapping[str, Untold]) -> tuple[EngineModel, ...]:
    """Those engines of which `known` tells.

    Raises:
        EngineError: one is not up.
    """
    return tuple(_model(engine, known[engine.name]) for engine in engines if engine.name in known)


def _emulated(name: str, section: Emulated) -> Untold:
    if section.speed != 1:
        raise ProfileError(
            f"engine {name} is emulated at {section.speed:g} times its profile's speed, which clients and tools do not "
            "share: leave `emulated.speed` out to validate"
        )
    profile = CPU_SMOLLM2 if section.profile is None else read_profile(section.profile).profile
    return Untold("emulated", profile, section.max_num_batched_tokens)


def _measured(name: str, model: str, saved: SavedProfile | None) -> Untold:
    how = "measure it while it is idle with `agentserve calibrate`, and name the file with --profile"
    if saved is None:
        raise ProfileError(f"engine {name} has no step profile: {how}")
    about = saved.measured
    if about is None:
        return Untold(saved.profile.name, saved.profile, EngineConfig().max_num_batched_tokens)
    if about.model != model:
        raise ProfileError(
            f"profile {saved.profile.name} was measured on the model {about.model} (field measured.model), but engine "
            f"{name} serves {model}: {how}"
        )
    return Untold(about.hardware, saved.profile, about.max_num_batched_tokens, about.request_overhead)


def _model(engine: ServedEngine, known: Untold) -> EngineModel:
    if engine.state != "up" or engine.spec is None:
        raise EngineError(f"engine {engine.name} is not up: {engine.problem or engine.state}")
    return EngineModel(
        engine.name,
        known.hardware,
        probed(engine.spec, known.max_num_batched_tokens),
        known.profile,
        engine.spec.retention,
        known.request_overhead,
    )
