"""A brain that was cut off anywhere goes on as the one that was not."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections import OrderedDict
from types import MethodType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from agentserve.state.snapshot import SnapshotError, freeze, thaw
from scheduler.brain import Brain
from scheduler.codec import decode
from scheduler.events import ToolStarted
from scheduler.log import digest
from scheduler.policy import PRESETS
from tests.scheduler.world import World, key, spec


class _ByValue(pickle._Pickler):
    """Pickles so that two objects in the same state give the same bytes, whichever of their values are one object."""

    def memoize(self, item: Any) -> None:
        if not isinstance(item, str | bytes | tuple):
            super().memoize(item)  # type: ignore[misc]

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, MethodType):
            return getattr, (item.__self__, item.__name__)
        return (set, (sorted(item),)) if isinstance(item, set) else NotImplemented


def state(brain: Brain) -> bytes:
    buffer = io.BytesIO()
    _ByValue(buffer, 5).dump(brain)
    return buffer.getvalue()


def step(world: World, rng: random.Random) -> None:
    """Something happens."""
    program = f"p{rng.randrange(6)}"
    match rng.randrange(9):
        case 0 | 1 | 2:
            tokens, turns = rng.randint(1, 2500), rng.randint(1, 9)
            world.call(program, tokens=tokens, turns=turns, final=rng.random() < 0.1, workflow=rng.choice(("", "w")))
        case 3 | 4 if world.running:
            call = rng.choice(sorted(world.running))
            world.finish(call, output=rng.randint(0, 400), cached=100, tool=rng.choice(("bash", "search", "")))
        case 5 if world.running:
            world.refuse(rng.choice(sorted(world.running)))
        case 6:
            world.later(rng.expovariate(0.05))
        case 7:
            world.feed(ToolStarted(world.now, key(program), "bash"))
        case 8 if rng.random() < 0.2:
            world.down("a")
            world.up("a")


@settings(max_examples=30)
@given(
    preset=st.sampled_from(sorted(PRESETS)), seed=st.integers(0, 2**32), steps=st.integers(1, 40), part=st.floats(0, 1)
)
def test_a_snapshot_and_the_log_since_give_the_same_brain_byte_for_byte(
    preset: str, seed: int, steps: int, part: float
) -> None:
    rng = random.Random(seed)
    world = World(PRESETS[preset], {"a": spec(3000), "b": spec(1500, retention=False)})
    for _ in range(int(part * steps)):
        step(world, rng)
    snapshot, since = freeze(world.brain), len(world.log)
    for _ in range(steps - int(part * steps)):
        step(world, rng)
    brain = thaw(snapshot)
    for line in world.log[since:]:
        record = json.loads(line)
        recorded = record.pop("actions")
        assert digest(brain.handle(decode(record)).actions) == recorded, f"other actions at {line}"
    brain.check_integrity()
    assert state(brain) == state(world.brain)
    world.call("another")
    assert state(brain) != state(world.brain), "states that differ have other bytes"


def test_what_is_no_brain_is_an_error() -> None:
    brain = freeze(Brain(PRESETS["agentserve"]))
    for data in (b"", b"nonsense", brain[: len(brain) // 2], pickle.dumps(OrderedDict())):
        with pytest.raises(SnapshotError):
            thaw(data)


class Evil:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize(
    "evil",
    [
        Evil(eval, "1/0"),
        Evil(getattr, Brain, "handle"),
        Evil(json.loads, "1"),
        Evil(digest, ()),
    ],
)
def test_a_snapshot_calls_nothing_but_the_brains_own_classes(evil: Evil) -> None:
    with pytest.raises(SnapshotError, match="does not name"):
        thaw(pickle.dumps(evil))


def test_a_snapshot_reaches_nothing_through_a_class() -> None:
    with pytest.raises(SnapshotError, match="does not name"):
        thaw(b"\x80\x04\x8c\x0fscheduler.brain\x8c\x14Brain.handle.__get__\x93.")
