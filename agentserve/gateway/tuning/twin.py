"""The engines of a gateway as a simulation has them: their reported sizes, with a measured or a learned speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.pace import answers, pace
from scheduler.learned import Learned
from scheduler.types import EngineId, EngineSpec
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel
from simulator.profile import SavedProfile, StepProfile
from workloads.traces.recording import RecordedCall

FEWEST = 20
"""Answers from which an engine's decode speed is learned."""


def twins(
    specs: Mapping[EngineId, EngineSpec],
    saved: SavedProfile | None,
    learned: Learned,
    calls: Sequence[RecordedCall],
) -> tuple[EngineModel, ...]:
    """A model of each engine, with the profile that was given, or else with the speed that its calls tell.

    Raises:
        TuningError: no profile is given, and an engine's calls are too few to tell.
    """
    return tuple(_twin(name, spec, saved or _learned(name, spec, learned, calls)) for name, spec in specs.items())


def describe(engine: EngineModel) -> str:
    """What a model takes its engine for, on one line."""
    profile = engine.profile
    return (
        f"{engine.name} with {engine.config.kv_tokens:,} KV tokens, profile {profile.name!r} ({profile.source}): "
        f"prefill {profile.prefill_tokens_per_s:,.0f} tokens/s, a step {1000 * profile.constant:.1f} ms, and "
        f"{1000 * (profile.decode_request + profile.token):.2f} ms more for each request that decodes"
    )


def _twin(name: EngineId, spec: EngineSpec, saved: SavedProfile) -> EngineModel:
    blocks, measured = spec.kv_tokens // spec.block_size, saved.measured
    config = EngineConfig(
        num_blocks=blocks,
        block_size=spec.block_size,
        max_model_len=min(spec.max_model_len, blocks * spec.block_size),
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=measured.max_num_batched_tokens if measured else EngineConfig().max_num_batched_tokens,
        priority=spec.priority,
    )
    overhead = measured.request_overhead if measured else 0.0
    return EngineModel(name, saved.profile.name, config, saved.profile, spec.retention, overhead)


def _learned(name: EngineId, spec: EngineSpec, learned: Learned, calls: Sequence[RecordedCall]) -> SavedProfile:
    streamed = answers(name, calls)
    if len(streamed) < FEWEST:
        raise TuningError(
            f"engine {name} has streamed {len(streamed)} answers of late, and its speed is learned from {FEWEST}; or "
            f"name a profile that `agentserve calibrate` has written with `tune.profile`"
        )
    decode, rate = pace(streamed), learned.prefill_rates.get(name)
    source = "prefill as the scheduler learned it" if rate else "prefill as assumed for an engine nothing is known of"
    profile = StepProfile(
        name="learned",
        source=f"{source}, decode by {len(streamed)} recorded answers",
        constant=decode.step,
        prefill_token=1 / (rate.value if rate else spec.prefill_tokens_per_s),
        decode_request=decode.request,
    )
    return SavedProfile(profile)
