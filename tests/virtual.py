"""Programs on one simulated engine, with the brain or straight onto it: for tests that compare the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from scheduler.actions import Dispatch, Why
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, Event
from scheduler.policy import PolicyConfig
from scheduler.types import EngineId
from simulator.client import ClientRules
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel
from simulator.ledger import Detail
from simulator.network import Constant
from simulator.profile import StepProfile
from simulator.result import Simulation
from simulator.world import World
from workloads.program import Program

PROFILE = StepProfile(
    name="test",
    source="a slow engine of fixed speed, so that what is asserted of policies does not change with shipped profiles",
    constant=0.0334,
    prefill_token=4.3e-4,
    prefill_attention=7.6e-8,
    decode_request=1.03e-3,
    decode_context=1.0e-6,
)
RULES = ClientRules(bytes_per_token=Constant(4.0))


class Stock:
    """No brain: every request goes to the engine as it comes."""

    def handle(self, event: Event) -> Decision:
        if not isinstance(event, CallArrived):
            return Decision((), None)
        return Decision((Dispatch(event.call, EngineId("e"), 0, 0, 0.0, Why.DIRECT, 0.0, event.max_output or 0),), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A whole replay."""

    simulation: Simulation
    dispatches: tuple[Dispatch, ...]

    @property
    def completions(self) -> dict[str, float]:
        return {done.program: done.completion for done in self.simulation.programs}

    @property
    def mean_completion(self) -> float:
        return fmean(self.completions.values())

    @property
    def cached_share(self) -> float:
        calls = self.simulation.calls
        return sum(call.cached for call in calls) / sum(call.prompt for call in calls)

    @property
    def longest_later_wait(self) -> float:
        """The longest time to first token of any call but a program's first."""
        return max(self.simulation.waits.later_ttft)


def replay(policy: PolicyConfig | None, config: EngineConfig, programs: Sequence[Program]) -> Outcome:
    """Replays programs under a policy, or without one straight onto the engine."""
    mind = Stock() if policy is None else Brain(policy)
    engine = EngineModel("e", "cpu", config, PROFILE, plugin=policy is not None)
    world = World(programs, (engine,), mind, rules=RULES, detail=Detail())
    dispatches: list[Dispatch] = []

    def note(event: Event, decision: Decision) -> None:
        dispatches.extend(action for action in decision.actions if isinstance(action, Dispatch))

    world.gateway.listen(note)
    world.run()
    return Outcome(world.ledger.simulation("", 0), tuple(dispatches))
