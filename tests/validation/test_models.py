"""Engines as the gateway reports them, and what becomes of them in the simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agentserve.config import Config, parse
from agentserve.engines.base import EngineError
from agentserve.validation.models import modelled, untold
from agentserve.validation.served import ServedEngine
from scheduler.types import EngineSpec
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2, Measured, ProfileError, SavedProfile, save_profile
from tests.simulator.worlds import PROFILE

MEASURED = Measured("m", "two cores", "2026-01-01", "a test", 4096, 512, 128, request_overhead=0.02)
SAVED = SavedProfile(PROFILE, MEASURED)
SPEC = EngineSpec(("m",), kv_tokens=8064, block_size=128, max_model_len=4096, max_num_seqs=64, retention=True)


def config(**engine: object) -> Config:
    return parse({"pools": [{"model": "m", "engines": [{"name": "e", **(engine or {"url": "http://nowhere"})}]}]})


def served(spec: EngineSpec | None = SPEC, state: str = "up", problem: str = "", name: str = "e") -> ServedEngine:
    return ServedEngine(name=name, model="m", url="http://nowhere", state=state, problem=problem, spec=spec)


def test_a_real_engine_has_its_probed_sizes_and_the_profile() -> None:
    (engine,) = modelled([served()], untold(config(), "m", SAVED))
    assert engine.config == EngineConfig(63, 128, 4096, 64, 512, priority=False)
    assert engine.plugin
    assert engine.profile == PROFILE
    assert engine.request_overhead == MEASURED.request_overhead


def test_a_context_longer_than_the_memory_is_cut_to_it() -> None:
    (engine,) = modelled([served(replace(SPEC, max_model_len=131_072))], untold(config(), "m", SAVED))
    assert engine.config.max_model_len == SPEC.kv_tokens


def test_an_emulated_engine_has_the_profile_it_is_emulated_by(tmp_path: Path) -> None:
    usual = untold(config(emulated={"max_num_batched_tokens": 256}), "m", None)["e"]
    assert (usual.profile, usual.max_num_batched_tokens, usual.request_overhead) == (CPU_SMOLLM2, 256, 0)
    path = tmp_path / "p.json"
    save_profile(PROFILE, path)
    assert untold(config(emulated={"profile": str(path)}), "m", SAVED)["e"].profile == PROFILE


def test_engines_of_other_models_are_left_out() -> None:
    assert untold(config(), "another", None) == {}
    assert modelled([served(), served(name="other")], untold(config(), "m", SAVED)) == modelled(
        [served()], untold(config(), "m", SAVED)
    )


def test_a_profile_that_says_nothing_of_its_engine_will_do() -> None:
    (engine,) = modelled([served()], untold(config(), "m", SavedProfile(PROFILE)))
    assert engine.profile == PROFILE
    assert engine.config.max_num_batched_tokens == EngineConfig().max_num_batched_tokens


def test_a_profile_that_is_not_the_engines_is_told_before_anything_runs() -> None:
    with pytest.raises(ProfileError, match=r"engine e has no step profile: .*agentserve calibrate.*--profile"):
        untold(config(), "m", None)
    with pytest.raises(ProfileError, match="engine e is emulated at 10 times"):
        untold(config(emulated={"speed": 10.0}), "m", None)
    other = SavedProfile(PROFILE, replace(MEASURED, model="llama"))
    with pytest.raises(
        ProfileError, match=r"measured on the model llama \(field measured.model\), but engine e serves m"
    ):
        untold(config(), "m", other)


def test_an_engine_that_is_not_up_is_an_error() -> None:
    known = untold(config(), "m", SAVED)
    with pytest.raises(EngineError, match="engine e is not up: out of memory"):
        modelled([served(None, "waiting", "out of memory")], known)


def test_an_engine_with_a_rest_of_memory_is_cut_to_whole_blocks() -> None:
    odd = replace(SPEC, kv_tokens=1000, block_size=64, max_model_len=4096)
    (engine,) = modelled([served(odd)], untold(config(), "m", SAVED))
    assert (engine.config.kv_tokens, engine.config.max_model_len) == (960, 960)
