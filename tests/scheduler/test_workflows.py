"""What is learned of the stages of workflows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scheduler.events import CallArrived
from scheduler.learned import Learned
from scheduler.policy import Choice, PolicyConfig
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, PrefixMark, StepCost
from scheduler.workflows import ANY, MEMORY, MOST_REPEATS, Answered, StageStats, chains, shared_bytes
from tests.scheduler.world import MODEL, World, key, spec

OPEN = PolicyConfig("open", order=Choice("fcfs"), admission=Choice("unlimited"), retention=Choice("none"))
TEMPLATE = (PrefixMark(1, 400), PrefixMark(2, 800))


def step(
    world: World, program: str, stage: str, seconds: float, *, prefix: tuple[PrefixMark, ...] = (), final: bool = False
) -> None:
    """One call of a workflow, from its arrival to its answer."""
    name = CallId(f"{program}/{stage}/{world.now}")
    world.waiting.add(name)
    world.feed(
        CallArrived(
            world.now, name, key(program), MODEL, 2000, prefix, prompt_tokens=500, expected_output=50,
            workflow="sql", stage=stage, final=final,
        )
    )  # fmt: skip
    world.later(seconds)
    world.finish(name)


def query(world: World, program: str, revisions: int) -> None:
    step(world, program, "write", 4.0, prefix=(*TEMPLATE, PrefixMark(hash(program), 2000)))
    for number in range(revisions):
        step(world, program, "revise", 2.0, final=number == revisions - 1)


def stage(world: World, name: str) -> StageStats:
    return world.brain.learned.stages[DEFAULT_TENANT, "sql", name]


def test_service_times_are_learned_by_stage_and_engine_and_outputs_by_stage() -> None:
    world = World(OPEN)
    query(world, "p", 2)
    assert stage(world, "write").service[EngineId("a")].value == pytest.approx(4.0)
    assert stage(world, "revise").service[EngineId("a")].value == pytest.approx(2.0)
    assert (stage(world, "revise").output.value, stage(world, "revise").output.count) == (50, 2)


def test_what_is_ahead_counts_by_what_calls_take_alone_whatever_they_took() -> None:
    world = World(OPEN, {"a": replace(spec(), cost=StepCost(0.01, 0.001))})
    for number in range(3):
        query(world, f"p{number}", 2)
    alone = stage(world, "revise").alone.value
    assert alone == pytest.approx(0.01 + 0.5 + 50 * 0.01), "not the two seconds that it took"
    assert stage(world, "write").after(0) == pytest.approx(2 * alone)
    assert [stage(world, "revise").after(number) for number in (0, 1)] == pytest.approx([alone, 0.0])
    assert stage(world, "revise").after(9) == pytest.approx(alone / 2), "never seen: any of the stage"


def test_a_call_takes_no_longer_alone_than_it_took() -> None:
    world = World(OPEN)
    step(world, "p", "write", 0.4)
    assert stage(world, "write").alone.value == pytest.approx(0.4), "step costs nobody has measured say 1.78 s"


def test_how_often_a_stage_is_repeated_is_counted_by_program() -> None:
    world = World(OPEN)
    for number, revisions in enumerate((1, 3, 3)):
        query(world, f"p{number}", revisions)
    assert stage(world, "revise").repeats == {1: 1, 3: 2}
    assert stage(world, "write").repeats == {1: 3}


def test_a_template_is_what_prompts_of_two_programs_begin_with() -> None:
    world = World(OPEN)
    for program in ("p", "q", "r"):
        query(world, program, 1)
    assert stage(world, "write").template.value == pytest.approx(200), "800 of 2,000 bytes, which are 500 tokens"
    assert stage(world, "write").template.count == 2
    assert stage(world, "revise").template.value == 0


def test_calls_without_a_stage_are_not_learned() -> None:
    world = World(OPEN)
    world.finish(world.call("p", final=True))
    assert world.brain.learned.stages == {}


def test_calls_side_by_side_are_one_link_of_the_chain() -> None:
    answered = [
        Answered("plan", 0, 0.0, 1.0, 1.0),
        Answered("draft", 0, 1.0, 3.0, 2.0),
        Answered("draft", 1, 1.0, 6.0, 5.0),
        Answered("judge", 0, 6.0, 9.0, 3.0),
    ]
    assert chains(answered) == [8.0, 3.0, 3.0, 0.0]


def test_two_prompts_share_their_bytes_up_to_the_last_mark_they_have_in_common() -> None:
    assert shared_bytes(TEMPLATE, (*TEMPLATE, PrefixMark(9, 900))) == 800
    assert shared_bytes(TEMPLATE, (PrefixMark(1, 400), PrefixMark(5, 800))) == 400
    assert shared_bytes(TEMPLATE, ()) == 0


def test_old_repeats_are_forgotten_and_their_number_is_bounded() -> None:
    stats = StageStats()
    for _ in range(3 * MEMORY):
        stats.repeated(1)
    assert stats.repeats[1] <= MEMORY
    stats.repeated(10 * MOST_REPEATS)
    stats.ended(10 * MOST_REPEATS, 1.0)
    assert max(stats.repeats) == MOST_REPEATS
    assert set(stats.ahead) == {MOST_REPEATS, ANY}


def test_what_was_learned_of_stages_is_saved_and_loaded() -> None:
    world = World(OPEN)
    for program in ("p", "q", "r"):
        query(world, program, 2)
    saved = json.loads(json.dumps(world.brain.learned.to_json()))
    loaded = Learned.from_json(saved)
    assert loaded.to_json() == saved
    assert loaded.stages[DEFAULT_TENANT, "sql", "write"].after(0) == stage(world, "write").after(0)


@pytest.mark.parametrize("stats", [None, [], [1, 2, 3, 4, 5, 6], [[0, 1], [0, 1], [0, 1], [], {}, {}]])
def test_a_state_that_was_not_saved_by_us_is_refused(stats: object) -> None:
    saved = Learned().to_json() | {"stages": [["default", "sql", "write", stats]]}
    with pytest.raises(ValueError, match="not a saved state"):
        Learned.from_json(saved)


def test_a_state_of_an_older_version_has_no_stages() -> None:
    saved = Learned().to_json()
    del saved["stages"]
    assert Learned.from_json(saved).stages == {}


def test_of_too_many_names_those_that_were_used_least_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.learned.MOST_NAMES", 4)
    learned = Learned()
    for name in ("swe", "sql"):
        learned.workflow(DEFAULT_TENANT, name).output.add(7)
        learned.stage((DEFAULT_TENANT, name, "plan")).answered(EngineId("a"), 1.0, 1.0, 7)
    for number in range(100):
        learned.workflow(DEFAULT_TENANT, f"run-{number}")
        learned.stage((DEFAULT_TENANT, "swe", f"run-{number}"))
    for table in (learned.workflows, learned.stages):
        assert len(table) <= 4
        assert [stats.output.count for stats in table.values()][:2] == [1, 1], "what is in use stays"
