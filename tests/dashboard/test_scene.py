"""What the feed tells of a brain, in virtual time."""

from __future__ import annotations

import json
import random

import pytest

from agentserve.dashboard.scene import Scene
from agentserve.dashboard.states import State
from agentserve.gateway.lives import Lives
from scheduler.actions import Action
from scheduler.events import CallFirstToken, Event, PinOutcome, PinReported, PolicyChanged, ProgramEnded
from scheduler.policy import PRESETS
from scheduler.types import DEFAULT_TENANT, CallId, EngineId
from tests.dashboard.mirror import Mirror
from tests.scheduler.world import World, key, spec


class Watched(World):
    """A world that somebody watches."""

    def __post_init__(self) -> None:
        self.lives = Lives([])
        self.scene: Scene | None = None
        self.mirror = Mirror()
        super().__post_init__()
        self.look()

    def look(self) -> None:
        self.scene = Scene(self.brain, self.now, open_calls=self.lives.calls.values())
        self.lives.watch(self.scene)

    def feed(self, event: Event) -> tuple[Action, ...]:
        decision = self.brain.handle(event)
        self.lives.record(event, decision)
        if self.scene is not None:
            self.scene.record(event, decision)
        self.next_wakeup = decision.next_wakeup
        self.actions.extend(decision.actions)
        for action in decision.actions:
            self._obey(action)
        return decision.actions

    def frame(self) -> dict[str, object]:
        assert self.scene is not None
        frame = self.scene.changes(self.now) | self.scene.slow_figures()
        self.mirror.take(json.loads(json.dumps(frame)))
        return frame

    def sweep(self) -> None:
        assert self.scene is not None
        self.scene.sweep(self.now)
        self.frame()


def test_a_program_is_seen_in_each_of_its_states_though_a_frame_is_late() -> None:
    w = Watched()
    call = w.call("p")
    w.now = 1.0
    w.feed(CallFirstToken(w.now, call))
    w.now = 2.0
    w.finish(call)
    w.frame()
    assert w.mirror.seen["p"] == [State.PREFILL, State.DECODE, State.RETAINED]


def test_a_frame_without_news_tells_the_time_only() -> None:
    w = Watched()
    w.call("p")
    w.frame()
    w.now = 1.0
    assert w.frame() == {"at": 1.0}


def test_a_call_that_does_not_fit_is_queued_and_counted_for_its_tenant() -> None:
    w = Watched(engines={"a": spec(1024)})
    w.call("first", tokens=900)
    w.call("second", tokens=900)
    w.frame()
    assert w.mirror.state("second") is State.QUEUED
    assert w.mirror.picture.figures["tenants"] == [[DEFAULT_TENANT, 2, 1, 1]]


def test_a_pin_that_runs_out_leaves_a_gap_from_then_on() -> None:
    w = Watched()
    w.finish(w.call("p"))
    w.frame()
    assert (w.mirror.state("p"), w.mirror.rows["p"].until) == (State.RETAINED, 30.0)
    w.later(31.0)
    w.sweep()
    assert (w.mirror.state("p"), w.mirror.rows["p"].since) == (State.GAP, 30.0)


def test_a_pin_that_is_broken_is_counted_and_leaves_a_gap_at_once() -> None:
    w = Watched()
    w.finish(w.call("p"))
    w.now = 5.0
    w.feed(PinReported(w.now, key("p"), EngineId("a"), PinOutcome.BROKEN, 32))
    w.frame()
    assert w.mirror.state("p") is State.GAP
    assert w.mirror.picture.figures["pins"] == {"broken": 1}


def test_what_an_engine_holds_is_told_by_what_it_is_held_for() -> None:
    w = Watched()
    w.finish(w.call("rests"), prompt=500, output=50)
    w.call("runs", tokens=400, output=40)
    w.frame()
    engine = w.mirror.picture.engines["a"]
    assert (engine.name, engine.model, engine.status, engine.capacity) == ("a", "m", "up", 8192)
    assert (engine.active, engine.retained, engine.left) == (440, 550, 0)
    assert engine.free == engine.capacity - engine.active - engine.retained


def test_under_a_policy_that_retains_nothing_gaps_are_gaps() -> None:
    w = Watched(PRESETS["vllm"])
    w.finish(w.call("p"))
    w.frame()
    assert w.mirror.state("p") is State.GAP
    engine = w.mirror.picture.engines["a"]
    assert (engine.active, engine.retained, engine.left) == (0, 0, 550), "the account still has it"


def test_an_engine_that_cannot_pin_retains_what_is_reserved() -> None:
    w = Watched(engines={"a": spec(retention=False)})
    w.finish(w.call("p"))
    w.frame()
    assert w.mirror.state("p") is State.RETAINED


def test_a_program_that_ends_is_gone_and_its_time_counts() -> None:
    w = Watched()
    call = w.call("p")
    w.now = 4.0
    w.finish(call)
    w.now = 9.0
    w.feed(ProgramEnded(w.now, key("p")))
    w.frame()
    assert not w.mirror.rows
    assert w.mirror.picture.figures["times"]["program"] == [4.0, 4.0, 4.0, 1], "to its last answer"
    assert w.mirror.picture.figures["times"]["ttft"] == [4.0, 4.0, 4.0, 1]
    assert w.mirror.picture.figures["tenants"] == []


def test_a_program_that_ends_in_silence_is_found_gone() -> None:
    w = Watched()
    w.finish(w.call("p"))
    w.frame()
    w.later(3600.0)
    w.sweep()
    assert not w.mirror.rows


def test_a_policy_is_told_with_every_parameter_and_when_it_changed() -> None:
    w = Watched()
    w.frame()
    parts = w.mirror.picture.figures["policy"]["parts"]
    assert parts["retention"] == {"name": "fixed_ttl", "parameters": {"ttl": 30.0}}
    assert parts["admission"] == {"name": "working_set", "parameters": {"limit": 1.0, "growth": 0.5}}
    w.now = 7.0
    w.feed(PolicyChanged(w.now, PRESETS["vllm"]))
    w.frame()
    assert (w.mirror.picture.figures["policy"]["name"], w.mirror.picture.figures["policy"]["at"]) == ("vllm", 7.0)


def test_one_who_comes_late_is_told_when_present_states_began() -> None:
    w = Watched(engines={"a": spec(1024)})
    w.call("runs", tokens=900)
    w.now = 3.0
    w.call("waits", tokens=900)
    w.now = 10.0
    w.look()
    w.frame()
    seen = [(w.mirror.state(name), w.mirror.rows[name].since) for name in ("runs", "waits")]
    assert seen == [(State.PREFILL, 0.0), (State.QUEUED, 3.0)]


@pytest.mark.parametrize("policy", ["agentserve", "vllm", "thunderagent"])
@pytest.mark.parametrize("seed", range(3))
def test_whoever_followed_all_changes_knows_what_a_new_one_is_told(policy: str, seed: int) -> None:
    w, random_ = Watched(PRESETS[policy], {"a": spec(2000), "b": spec(3000)}), random.Random(seed)
    going: dict[str, CallId] = {}
    for _ in range(400):
        w.later(random_.expovariate(2.0))
        program = f"p{random_.randrange(12)}"
        ready = [name for name, call in going.items() if call in w.running]
        if ready and random_.random() < 0.6:
            name = random_.choice(ready)
            prompt = random_.randrange(100, 900)
            w.finish(going.pop(name), prompt=prompt, cached=random_.randrange(prompt), tool=random_.choice("xy"))
        elif program not in going:
            call = w.call(program, tokens=random_.randrange(100, 900), final=random_.random() < 0.1)
            if call not in w.rejected:
                going[program] = call
        if random_.random() < 0.3:
            w.frame()
    w.sweep()
    late = Mirror()
    fresh = Scene(w.brain, w.now, open_calls=w.lives.calls.values())
    late.take(json.loads(json.dumps(fresh.changes(w.now))))
    steady = {name: row._replace(since=0.0) for name, row in w.mirror.rows.items()}
    assert steady == {name: row._replace(since=0.0) for name, row in late.rows.items()}
    assert w.mirror.picture.engines == late.picture.engines
    assert sorted(w.mirror.picture.figures["tenants"]) == sorted(late.picture.figures["tenants"])
    assert w.scene is not None
    again = Mirror()
    again.take(json.loads(json.dumps(w.scene.whole(w.now))))
    assert again.rows == w.mirror.rows
