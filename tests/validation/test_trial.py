"""How long a replay takes, before it is made."""

from __future__ import annotations

import pytest

from agentserve.validation.trial import least_duration
from agentserve.validation.twin import simulate_replays
from scheduler.brain import Brain
from scheduler.policy import PRESETS, PolicyConfig
from simulator import world
from tests.simulator.worlds import chain, fleet
from workloads.program import Call, Edge, Program


def test_gaps_and_arrivals_are_the_least_that_a_replay_takes() -> None:
    child = Program("child", 5.0, (Call("0", 80, 5, (Edge("0", 100.0, program="parent"),)),), parent="parent")
    parent = Program("parent", 5.0, (Call("0", 100, 5), Call("1", 50, 5, (Edge("0", 20.0, program="child"),))))
    assert least_duration([parent, child]) == 125.0
    assert least_duration([chain("a", 3, gap=4000.0), chain("b", arrival=50.0)]) == 8000.0


def test_programs_end_by_silence_when_the_gateway_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    minds: list[Brain] = []

    class Noted(Brain):
        def __init__(self, policy: PolicyConfig, *, seed: int, idle_timeout: float) -> None:
            super().__init__(policy, seed=seed, idle_timeout=idle_timeout)
            minds.append(self)

    monkeypatch.setattr(world, "Brain", Noted)
    simulate_replays([[chain("a")]], fleet(), PRESETS["agentserve"], idle_timeout=60.0)
    simulate_replays([[chain("a")]], fleet(), PRESETS["agentserve"])
    assert [mind.idle_timeout for mind in minds] == [60.0, 900.0]
