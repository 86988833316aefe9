import pytest

from scheduler.events import PinOutcome, PinReported
from scheduler.story import UnknownCallError, tell
from scheduler.types import CallId, EngineId
from tests.scheduler.world import World, key


def story(world: World, call: CallId) -> str:
    return "\n".join(f"{moment.at:.1f} {moment.text}" for moment in tell(world.log, call))


def test_a_call_that_does_not_wait_goes_at_once() -> None:
    world = World()
    world.later(5.0)
    call = world.call("p", workflow="swe")
    world.finish(call, prompt=500, output=50)
    text = story(world, call)
    assert "0.0 arrives with 2,000 bytes, the first call of program default/p (workflow swe)" in text
    assert "goes to a after 0.000 s in line" in text
    assert "it did not have to wait" in text
    assert "it calls bash" in text
    assert "in the gap that begins, its KV (550 tokens) is pinned on a for 30.0 s" in text


def test_a_call_that_waits_shows_what_was_full_and_what_made_room() -> None:
    world = World()
    first = world.call("p", tokens=3000, output=500)
    waiting = world.call("q", tokens=3000, output=500)
    assert waiting in world.waiting
    world.later(3.0)
    world.finish(first, prompt=3000, output=500)
    world.end("p")
    world.finish(waiting, prompt=3000, output=500)
    text = story(world, waiting)
    assert "waits, one of 1 calls in line: it is expected to hold 3,500 tokens in the end" in text
    assert "engine a (up) has 1 running calls, 1 programs" in text
    assert "goes to a after 3.000 s in line" in text
    assert "what let it go: ProgramEnded default/p" in text


@pytest.mark.parametrize(("cached", "told"), [(500, "KV was kept"), (0, "KV was lost")])
def test_the_next_call_shows_whether_the_kv_was_kept(cached: int, told: str) -> None:
    world = World()
    call = world.call("p")
    world.finish(call)
    world.later(2.0)
    after = world.call("p", tokens=700, turns=2)
    world.finish(after, prompt=700, cached=cached)
    text = story(world, call)
    assert f"2.0 the program's next call arrives: {after}; its KV (550 tokens) is pinned on a" in text
    assert told in text.splitlines()[-1]
    assert told in story(world, after)


def test_what_becomes_of_the_pin_is_told() -> None:
    world = World()
    call = world.call("p")
    world.finish(call)
    world.feed(PinReported(world.now, key("p"), EngineId("a"), PinOutcome.BROKEN, 64))
    world.later(1.0)
    world.end("p")
    text = story(world, call)
    assert "a reports of the program's pin: broken, 64 tokens" in text
    assert "the program has ended" in text


def test_an_engine_that_fails_is_part_of_the_story() -> None:
    world = World()
    call = world.call("p")
    world.down("a")
    text = story(world, call)
    assert "engine a goes down" in text
    assert "a did not take it: refused" in text
    assert "is rejected (engines_failed)" in text


@pytest.mark.parametrize(("how", "told"), [("fail", "fails: engine_error"), ("cancel", "is cancelled")])
def test_a_call_without_an_answer_ends_its_story(how: str, told: str) -> None:
    world = World()
    call = world.call("p")
    getattr(world, how)(call)
    world.later(100.0)
    assert told in story(world, call).splitlines()[-1]


def test_an_unknown_call_is_an_error() -> None:
    with pytest.raises(UnknownCallError, match="the log has no call 'x'"):
        tell(World().log, CallId("x"))
