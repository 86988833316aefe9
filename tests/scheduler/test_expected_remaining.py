from __future__ import annotations

from scheduler.brain import Brain
from scheduler.events import EngineUp, HintGiven, ProgramEnded
from scheduler.policy import Choice, PolicyConfig
from scheduler.types import EngineId
from tests.scheduler.world import World, key, spec

POLICY = PolicyConfig("test", order=Choice("expected_remaining"), admission=Choice("memory"), retention=Choice("none"))


def world() -> World:
    """One small engine that has seen short and long programs."""
    run = World(POLICY, {"a": spec(kv_tokens=1024)})
    for number in range(4):
        run.finish(run.call(f"chat{number}", workflow="chat", final=True))
        for turn in range(1, 5):
            call = run.call(f"agent{number}", workflow="agent", turns=turn, final=turn == 4)
            run.later(10.0)
            run.finish(call)
    return run


def test_the_program_with_the_least_to_do_goes_first() -> None:
    run = world()
    running = run.call("one", tokens=900, final=True)
    agent, chat = run.call("agent", tokens=900, workflow="agent"), run.call("chat", tokens=900, workflow="chat")
    run.finish(running)
    assert chat in run.running
    assert agent in run.waiting


def test_a_program_that_goes_on_longer_than_others_keeps_its_place() -> None:
    """Those of its workflow that go on are not overtaken, by newcomers of the same, though more may be left of them."""
    run = world()
    for number in range(4):
        for turn in range(1, 21):
            call = run.call(f"long{number}", workflow="agent", turns=turn, final=turn == 20)
            run.later(10.0)
            run.finish(call)
    for turn in range(1, 6):
        run.finish(run.call("old", workflow="agent", turns=turn))
        run.later(1.0)
    running = run.call("one", tokens=900, final=True)
    new, old = run.call("new", tokens=900, workflow="agent"), run.call("old", tokens=900, workflow="agent", turns=6)
    run.finish(running)
    assert old in run.running
    assert new in run.waiting


def test_an_agent_that_says_how_much_is_left_finds_its_place_anew() -> None:
    run = world()
    running = run.call("one", tokens=900, final=True)
    first, second = run.call("a", tokens=900, workflow="agent"), run.call("b", tokens=900, workflow="agent")
    run.feed(HintGiven(run.now, key("b"), remaining_calls=1))
    run.finish(running)
    assert second in run.running
    assert first in run.waiting


def test_whoever_waits_is_overtaken_for_a_bounded_time_only() -> None:
    run = world()
    running = run.call("one", tokens=900, final=True)
    agent = run.call("agent", tokens=900, workflow="agent")
    run.later(500.0)
    chat = run.call("chat", tokens=900, workflow="chat")
    run.finish(running)
    assert agent in run.running
    assert chat in run.waiting


def test_what_is_learned_later_puts_nobody_behind_those_who_came_after_him() -> None:
    """Those that wait when it is learned count with it from then on, as those do that come later."""
    run = World(POLICY, {"a": spec(kv_tokens=1024)})
    run.finish(run.call("old", workflow="agent"))
    run.later(1.0)
    agent, running = run.call("agent", workflow="agent"), run.call("one", tokens=400, final=True)
    new = run.call("new", tokens=900, workflow="agent")
    run.later(30.0)
    run.finish(agent)
    run.feed(ProgramEnded(run.now, key("agent")))
    old = run.call("old", tokens=900, workflow="agent", turns=2)
    run.finish(running)
    assert old in run.running
    assert new in run.waiting


def test_what_is_known_of_workflows_survives_a_restart() -> None:
    saved = world().brain.learned.to_json()
    run = World(POLICY, {})
    run.brain = Brain(POLICY, learned=saved)
    run.feed(EngineUp(run.now, EngineId("a"), spec(kv_tokens=1024)))
    running = run.call("one", tokens=900, final=True)
    agent, chat = run.call("agent", tokens=900, workflow="agent"), run.call("chat", tokens=900, workflow="chat")
    run.finish(running)
    assert chat in run.running
    assert agent in run.waiting


def test_those_that_wait_change_places_when_what_is_expected_of_them_does() -> None:
    run = World(POLICY, {"a": spec(kv_tokens=1024)})
    long, running = run.call("long", workflow="agent"), run.call("one", tokens=400, final=True)
    agent = run.call("agent", tokens=900, workflow="agent")
    run.later(1.0)
    chat = run.call("chat", tokens=900, workflow="chat")
    run.later(99.0)
    run.finish(long)
    run.feed(ProgramEnded(run.now, key("long")))
    run.finish(running)
    assert chat in run.running
    assert agent in run.waiting


def test_questions_and_agents_that_name_nothing_are_told_apart_by_their_first_prompts() -> None:
    run = World(POLICY, {"a": spec(kv_tokens=1024)})
    for number in range(4):
        run.finish(run.call(f"question{number}", tokens=100, final=True))
        for turn in range(1, 5):
            call = run.call(f"agent{number}", tokens=300, turns=turn, final=turn == 4)
            run.later(10.0)
            run.finish(call)
    running = run.call("one", tokens=1000, final=True)
    agent, question = run.call("agent", tokens=300), run.call("question", tokens=100)
    run.finish(running)
    assert [dispatch.call for dispatch in run.dispatches[-2:]] == [question, agent]
