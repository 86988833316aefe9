"""Simulating a recording goes as what was recorded went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agentserve.gateway.lives import Lives
from agentserve.gateway.recorder import Recorder
from scheduler.brain import Brain
from scheduler.events import CallArrived, Event
from scheduler.policy import PRESETS
from scheduler.types import PrefixMark
from simulator.client import ClientRules
from simulator.ledger import Detail
from simulator.world import RULES, World, simulate
from tests.simulator.worlds import fleet, small
from workloads.program import Program
from workloads.traces import load
from workloads.traces.recording import RECORDING

Times = dict[tuple[str, int], tuple[float, float, float]]
"""Of each call of a program, by its place in the order of arrival: when it came, had a token, and ended."""


def recorded(programs: Sequence[Program], preset: str, path: Path, rules: ClientRules = RULES) -> Path:
    """What a gateway writes of a run in virtual time."""
    world = World(programs, fleet(), Brain(PRESETS[preset], seed=1), seed=1, rules=rules)
    recorder = Recorder(path, CollectorRegistry())
    lives = Lives([recorder])
    world.gateway.listen(lambda event, decision: lives.record(_as_the_gateways(event), decision))
    world.run()
    recorder.close()
    return path


def _as_the_gateways(event: Event) -> Event:
    """The event with hashes of 64 bits: those of the simulator are Python's, and may be negative."""
    if not isinstance(event, CallArrived):
        return event
    return replace(event, prefix=tuple(PrefixMark(mark.hash % 2**64, mark.size) for mark in event.prefix))


def as_recorded(path: Path) -> Times:
    calls = sorted(RECORDING.read(path), key=lambda call: call.arrived_s)
    start, found, places = calls[0].arrived_s, Times(), dict[str, int]()
    for call in calls:
        place = places[call.program] = places.get(call.program, -1) + 1
        assert call.first_token_s is not None
        found[call.program, place] = call.arrived_s - start, call.first_token_s - start, call.ended_s - start
    return found


def as_simulated(path: Path, preset: str) -> Times:
    programs = list(load(path))
    simulation = simulate(programs, fleet(), PRESETS[preset], seed=1, detail=Detail())
    return {
        (call.program, int(call.call)): (call.arrived, call.first_token, call.finished) for call in simulation.calls
    }


@pytest.mark.parametrize("preset", ["vllm", "continuum", "agentserve"])
def test_a_recorded_run_goes_the_same_way_again(preset: str, tmp_path: Path) -> None:
    path = recorded(small(12), preset, tmp_path / "calls.jsonl")
    real, again = as_recorded(path), as_simulated(path, preset)
    assert again.keys() == real.keys()
    for call, times in real.items():
        assert again[call] == pytest.approx(times, abs=1e-3), f"call {call} went otherwise"


def test_a_recording_keeps_what_the_clients_of_the_run_said(tmp_path: Path) -> None:
    programs = small(3)
    path = recorded(programs, "vllm", tmp_path / "calls.jsonl")
    for program, original in zip(load(path), programs, strict=True):
        said = [call.said for call in program.calls]
        assert [each.final for each in said if each is not None] == [False] * (len(said) - 1) + [True]
        assert [each.max_output for each in said if each is not None] == [call.output_tokens for call in original.calls]


def test_silent_clients_are_replayed_as_silent_ones(tmp_path: Path) -> None:
    silent = ClientRules(announce_end=False, exact_lengths=False)
    path = recorded(small(12), "agentserve", tmp_path / "calls.jsonl", silent)
    real, again = as_recorded(path), as_simulated(path, "agentserve")
    for call, times in real.items():
        assert again[call] == pytest.approx(times, abs=1e-3), f"call {call} went otherwise"
