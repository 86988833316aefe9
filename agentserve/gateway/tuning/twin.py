"""The engines of a gateway as a simulation has them: their reported sizes, with a measured or a learned speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.pace import answers, pace
from scheduler.types import EngineId, EngineSpec
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel, probed
from simulator.profile import SavedProfile, StepProfile
from workloads.traces.recording import RecordedCall

FEWEST = 20
"""Answers from which an engine's decode speed is learned."""


def twins(
    specs: Mapping[EngineId, EngineSpec],
    saved: SavedProfile | None,
    rates: Mapping[EngineId, float],
    calls: Sequence[RecordedCall],
) -> tuple[EngineModel, ...]:
    """A model of each engine, with the profile that was given, or else with the speed that its calls tell.

    Args:
        specs: the engines.
        saved: the profile that was given.
        rates: prefilled tokens a second, where they were learned.
        calls: recorded ones.

    Raises:
        TuningError: the profile is of another model than an engine serves, or none is given, and an engine's calls are
            too few to tell.
    """
    for name, spec in specs.items():
        _check_model(name, spec, saved)
    return tuple(_twin(name, spec, saved or _learned(name, spec, rates, calls)) for name, spec in specs.items())


def describe(engine: EngineModel) -> str:
    """What a model takes its engine for, on one line."""
    profile = engine.profile
    return (
        f"{engine.name} with {engine.config.kv_tokens:,} KV tokens, profile {profile.name!r} ({profile.source}): "
        f"prefill {profile.prefill_tokens_per_s:,.0f} tokens/s, a step {1000 * profile.constant:.1f} ms, and "
        f"{1000 * (profile.decode_request + profile.token):.2f} ms more for each request that decodes"
    )


def _check_model(name: EngineId, spec: EngineSpec, saved: SavedProfile | None) -> None:
    if saved is None or saved.measured is None or saved.measured.model in spec.models:
        return
    raise TuningError(
        f"tune.profile: {saved.profile.name} was measured on the model {saved.measured.model} (field measured.model), "
        f"but engine {name} serves {', '.join(spec.models)}"
    )


def _twin(name: EngineId, spec: EngineSpec, saved: SavedProfile) -> EngineModel:
    measured = saved.measured
    batch = measured.max_num_batched_tokens if measured else EngineConfig().max_num_batched_tokens
    overhead = measured.request_overhead if measured else 0.0
    return EngineModel(name, saved.profile.name, probed(spec, batch), saved.profile, spec.retention, overhead)


def _learned(
    name: EngineId, spec: EngineSpec, rates: Mapping[EngineId, float], calls: Sequence[RecordedCall]
) -> SavedProfile:
    streamed = answers(name, calls)
    if len(streamed) < FEWEST:
        raise TuningError(
            f"engine {name} has streamed {len(streamed)} answers of late, and its speed is learned from {FEWEST}; or "
            f"name a profile that `agentserve calibrate` has written with `tune.profile`"
        )
    decode, rate = pace(streamed), rates.get(name)
    source = "prefill as the scheduler learned it" if rate else "prefill as assumed for an engine nothing is known of"
    profile = StepProfile(
        name="learned",
        source=f"{source}, decode by {len(streamed)} recorded answers",
        constant=decode.step,
        prefill_token=1 / (rate or spec.prefill_tokens_per_s),
        decode_request=decode.request,
    )
    return SavedProfile(profile)
