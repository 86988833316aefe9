"""Small worlds for tests: fleets of the CPU engine, and programs of a few calls."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.brain import Brain, Decision
from scheduler.events import Event
from scheduler.policy import PRESETS
from simulator.client import ClientRules
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel
from simulator.profile import StepProfile
from simulator.world import RULES, World
from workloads.arrivals import poisson
from workloads.generate import SMALL, generate
from workloads.program import Call, Edge, Program

CONFIG = EngineConfig(num_blocks=256, block_size=32, max_model_len=4096)
PROFILE = StepProfile("test", "made up", constant=0.03, prefill_token=4e-4, decode_request=1e-3, decode_context=1e-6)


def fleet(engines: int = 1, config: EngineConfig = CONFIG) -> tuple[EngineModel, ...]:
    return tuple(EngineModel(f"e{number}", "cpu", config, PROFILE) for number in range(engines))


def small(count: int = 12, rate: float = 0.4, seed: int = 1) -> list[Program]:
    """Chains of 4 to 9 calls with tools between them; at this rate they overload one engine."""
    return poisson(generate(SMALL, count, seed), rate, seed)


def chain(name: str, calls: int = 2, arrival: float = 0.0, gap: float = 1.0, new: int = 100) -> Program:
    """Calls of `new` tokens and 20 of answer, each with the one before as its context."""
    first = Call("0", new, 20)
    later = (Call(str(turn), new, 20, (Edge(str(turn - 1), gap, "bash"),), str(turn - 1)) for turn in range(1, calls))
    return Program(name, arrival, (first, *later))


class Recorded:
    """A world that has run, with every event that its brain saw."""

    def __init__(
        self, programs: Iterable[Program], engines: int = 1, preset: str = "agentserve", rules: ClientRules = RULES
    ) -> None:
        self.brain = Brain(PRESETS[preset])
        self.events: list[Event] = []
        self.world = World(programs, fleet(engines), self.brain, rules=rules)
        self.world.gateway.listen(self._note)
        self.world.run()

    def of(self, call: str) -> list[Event]:
        """The events of one call."""
        return [event for event in self.events if getattr(event, "call", "") == call]

    def _note(self, event: Event, decision: Decision) -> None:
        self.events.append(event)
