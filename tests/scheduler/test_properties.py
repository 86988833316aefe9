"""Whatever happens, in whatever order: no call is lost, none is sent twice, the books close at zero, logs replay."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from scheduler.brain import Brain
from scheduler.events import (
    CallFinished,
    CallProgressed,
    EngineDraining,
    EngineObserved,
    EngineResumed,
    HintGiven,
    PinOutcome,
    PinReported,
    PolicyChanged,
    ToolEnded,
    ToolStarted,
)
from scheduler.log import replay
from scheduler.policy import PRESETS, PolicyConfig
from scheduler.types import CallId, EngineId
from tests.scheduler.world import World, key, spec

PROGRAMS = st.sampled_from([f"p{number}" for number in range(6)])
ENGINES = st.sampled_from(["a", "b"])


class BrainMachine(RuleBasedStateMachine):
    """Random events on two unequal engines, one of them without the plugin."""

    policy: PolicyConfig = PRESETS["agentserve"]
    calls: Bundle[CallId] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.policy, {"a": spec(3000), "b": spec(1500, retention=False)})
        self.ended: set[CallId] = set()

    @rule(target=calls, program=PROGRAMS, tokens=st.integers(1, 2500), turns=st.integers(1, 9), final=st.booleans())
    def arrive(self, program: str, tokens: int, turns: int, final: bool) -> CallId:
        return self.world.call(program, tokens=tokens, turns=turns, final=final)

    @rule(target=calls, call=consumes(calls), output=st.integers(0, 400), tool=st.sampled_from(["bash", "search", ""]))
    def finish(self, call: CallId, output: int, tool: str) -> CallId | MultipleResults[CallId]:
        if call not in self.world.running:
            return call
        self.world.finish(call, output=output, cached=100, tool=tool)
        self.ended.add(call)
        return multiple()

    @rule(target=calls, call=consumes(calls), how=st.sampled_from(["fail", "cancel", "refuse"]))
    def go_wrong(self, call: CallId, how: str) -> CallId | MultipleResults[CallId]:
        if how == "cancel" and call not in self.world.rejected:
            self.world.cancel(call)
            self.ended.add(call)
            return multiple()
        if call in self.world.running:
            getattr(self.world, how)(call)
        if how == "fail" and call not in self.world.running and call not in self.world.waiting:
            self.ended.add(call)
            return multiple()
        return call

    @rule(call=calls, output=st.integers(0, 900))
    def progress(self, call: CallId, output: int) -> None:
        self.world.feed(CallProgressed(self.world.now, call, output))

    @rule(call=calls, engine=st.sampled_from(["a", "b", None]), started=st.booleans(), output=st.integers(0, 900))
    def announce(self, call: CallId, engine: str | None, started: bool, output: int) -> None:
        """A driver's word counts, whatever the brain thought."""
        if call not in self.world.rejected:
            self.world.announce(call, engine, started=started, output=output)

    @rule(target=calls, program=PROGRAMS, tokens=st.integers(1, 2500), engine=st.sampled_from(["a", "b", None]))
    def announce_another(self, program: str, tokens: int, engine: str | None) -> CallId:
        """A call that the brain has not heard of."""
        call = self.world.arrival(program, tokens).call
        self.world.announce(call, engine)
        return call

    @rule(program=PROGRAMS)
    def end_program(self, program: str) -> None:
        self.world.end(program)

    @rule(program=PROGRAMS, tool=st.sampled_from(["bash", "sleep"]), gap=st.floats(0, 100))
    def tell(self, program: str, tool: str, gap: float) -> None:
        now = self.world.now
        self.world.feed(ToolStarted(now, key(program), tool))
        self.world.feed(HintGiven(now, key(program), 3, gap))
        self.world.feed(ToolEnded(now, key(program)))

    @rule(engine=ENGINES)
    def bounce(self, engine: str) -> None:
        self.world.down(engine)
        self.world.up(engine)

    @rule(engine=ENGINES)
    def drain(self, engine: str) -> None:
        self.world.feed(EngineDraining(self.world.now, EngineId(engine)))

    @rule(engine=ENGINES)
    def resume(self, engine: str) -> None:
        self.world.feed(EngineResumed(self.world.now, EngineId(engine)))

    @rule(engine=ENGINES, running=st.integers(0, 9), used=st.integers(0, 3000), ago=st.floats(0, 5))
    def observe(self, engine: str, running: int, used: int, ago: float) -> None:
        now = self.world.now
        self.world.feed(EngineObserved(now, EngineId(engine), max(now - ago, 0.0), running, 0, used))

    @rule(program=PROGRAMS, engine=ENGINES, outcome=st.sampled_from(list(PinOutcome)))
    def report_pin(self, program: str, engine: str, outcome: PinOutcome) -> None:
        self.world.feed(PinReported(self.world.now, key(program), EngineId(engine), outcome, 100))

    @rule(preset=st.sampled_from(sorted(PRESETS)))
    def change_policy(self, preset: str) -> None:
        self.world.feed(PolicyChanged(self.world.now, PRESETS[preset]))

    @rule(seconds=st.floats(0.001, 1000))
    def wait(self, seconds: float) -> None:
        self.world.later(seconds)

    @rule(call=calls)
    def finish_again(self, call: CallId) -> None:
        """A late event about a call that does not run does not touch it."""
        if call not in self.world.running:
            known = call in self.world.waiting
            self.world.feed(CallFinished(self.world.now, call, None))
            assert (call in self.world.brain.calls) == known

    @invariant()
    def no_call_is_lost(self) -> None:
        known = set(self.world.brain.calls)
        assert known == self.world.waiting | set(self.world.running)

    def teardown(self) -> None:
        """Everything ends: engines come up, calls finish, programs end. Then nothing is held anywhere."""
        world = self.world
        for engine in world.engines:
            world.up(engine)
        for _ in range(len(world.brain.calls) + 1):
            world.later(2000.0)  # no rival holds a call for longer than 1800 s
            for call in list(world.running):
                world.finish(call)
        assert not world.brain.calls, f"calls that never ran although engines were idle: {list(world.brain.calls)}"
        for program in list(world.brain.programs):
            world.end(program.program)
        assert not world.brain.programs
        for engine in world.engines:
            assert world.occupied(engine) == 0
        again = replay(world.log)
        assert again.first_difference is None, f"replaying the log differs at line {again.first_difference}"
        assert again.events == len(world.log) - 1


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_books_close_whatever_happens(preset: str) -> None:
    class Machine(BrainMachine):
        policy = PRESETS[preset]

    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=150, stateful_step_count=40, suppress_health_check=checks),
    )


def test_time_may_not_run_backwards() -> None:
    world = World()
    world.later(5.0)
    world.call("p")
    with pytest.raises(ValueError, match="time runs backwards"):
        world.brain.handle(EngineDraining(1.0, EngineId("a")))


def test_a_brain_starts_empty() -> None:
    assert Brain(PRESETS["agentserve"]).handle(HintGiven(0.0, key("nobody"), 1)) == ((), None)
