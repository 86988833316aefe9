"""The three queues, and what a cell's procedures ask of its driver."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush

import pytest

from scheduler.actions import Abort, Action, Answer, Dispatch, Submit
from scheduler.brain import Brain
from scheduler.codec import decode, encode
from scheduler.events import (
    CallArrived,
    CallFinished,
    CallFirstToken,
    EngineUp,
    Event,
    ProcedureBegun,
    ProcedureCancelled,
    StepEnded,
    StepFailed,
)
from scheduler.policy import PRESETS
from scheduler.procedures.base import Conclude, Kind, News, ProcedureSpec, Stage, Step, Verdict
from scheduler.procedures.stages import LEAST_RATE, Entry, Queue, Stages
from scheduler.procedures.voting import leader_wins
from scheduler.types import CallId, EngineId, EngineSpec, PrefixMark, StepCost, Usage
from tests.scheduler.world import key, spec

SPEC = ProcedureSpec(Kind.ATTS, "small", "large", samples=3, takeover=1.0, decided=None)


class Vote:
    """A procedure of which only the certainty matters."""

    def __init__(self, certainty: float) -> None:
        self.certainty = certainty

    def begin(self) -> list[object]:
        raise NotImplementedError

    heard = failed = begin


def entry(number: int, stage: Stage, certainty: float = 0.5) -> Entry:
    model = "small" if stage is Stage.DRAFT else "large"
    vote = Vote(certainty)
    return Entry(CallId(str(number)), Queue(model, stage), Step(number, 0, stage), vote, number)  # type: ignore[arg-type]


def ready(stages: Stages, now: float = 0.0) -> list[str]:
    return [entry.call for entry in stages.ready(now)]


def test_takeovers_of_the_least_decided_vote_go_first() -> None:
    stages = Stages(lambda model: 2)
    certainties = [leader_wins(3, 0, 9), leader_wins(1, 1, 9), leader_wins(2, 0, 9)]
    for number, certainty in enumerate(certainties):
        stages.enter(entry(number, Stage.TAKEOVER, certainty))
    order = ready(stages)
    while len(order) < len(certainties):
        stages.leave(CallId(order[-1]), 1.0, ended=True)
        order += ready(stages)
    assert order == ["1", "2", "0"]


def test_a_verification_never_waits_for_takeovers() -> None:
    stages = Stages(lambda model: 2)
    for number in range(5):
        stages.enter(entry(number, Stage.TAKEOVER))
    assert ready(stages) == ["0"]
    stages.enter(entry(9, Stage.VERIFY))
    assert ready(stages) == ["9"]


def test_the_takeover_rate_falls_to_what_keeps_both_models_equally_busy() -> None:
    stages = Stages(lambda model: 4)
    assert stages.rate(0.4, "small", "large") == 0.4
    stages.enter(entry(0, Stage.DRAFT))
    stages.enter(entry(1, Stage.TAKEOVER))
    ready(stages, 0.0)
    stages.leave(CallId("0"), 3.0, ended=True)
    stages.leave(CallId("1"), 10.0, ended=True)
    assert stages.rate(0.4, "small", "large") == 0.4
    for number in range(2, 7):
        stages.enter(entry(number, Stage.TAKEOVER))
    ready(stages, 10.0)
    assert stages.rate(0.4, "small", "large") == pytest.approx(0.3)


def test_the_takeover_rate_never_falls_below_a_quarter_of_what_was_asked_for() -> None:
    stages = Stages(lambda model: 1)
    stages.enter(entry(0, Stage.DRAFT))
    stages.enter(entry(1, Stage.TAKEOVER))
    ready(stages, 0.0)
    stages.leave(CallId("0"), 1.0, ended=True)
    stages.leave(CallId("1"), 100.0, ended=True)
    for number in (2, 3):
        stages.enter(entry(number, Stage.TAKEOVER))
    ready(stages, 100.0)
    assert stages.rate(0.4, "small", "large") == pytest.approx(0.1)


# --- through the brain ----------------------------------------------------------------------------------------------


def engine(model: str, places: int) -> EngineSpec:
    return replace(spec(models=(model,)), max_num_seqs=places)


def brain(places: int = 16) -> Brain:
    mind = Brain(PRESETS["agentserve"])
    for model in ("small", "large"):
        mind.handle(EngineUp(0.0, EngineId(model), engine(model, places)))
    return mind


def told(mind: Brain, event: Event) -> list[Action]:
    actions = list(mind.handle(event).actions)
    mind.check_integrity()
    return actions


def submits(actions: list[Action]) -> list[str]:
    return [action.call for action in actions if isinstance(action, Submit)]


def begun(mind: Brain, asked: ProcedureSpec = SPEC) -> list[Action]:
    return told(mind, ProcedureBegun(0.0, "v", key("v"), asked))


def conclusion(actions: list[Action]) -> Conclude:
    (answer,) = [action for action in actions if isinstance(action, Answer)]
    return answer.conclusion


def test_samples_are_programs_of_their_own_under_one_parent() -> None:
    actions = begun(brain())
    assert [(action.program, action.parent) for action in actions if isinstance(action, Submit)] == [
        (key(f"v/{sample}/small"), key("v")) for sample in range(3)
    ]


def arrival(begin: Action, at: float, prompt: int) -> CallArrived:
    """A step arrives, with the one prompt of all samples."""
    assert isinstance(begin, Submit)
    marks = (PrefixMark(7, 4 * prompt),)
    return CallArrived(
        at, begin.call, begin.program, begin.model, 4 * prompt, marks,
        prompt_tokens=prompt, max_output=begin.max_output, parent=begin.parent,
    )  # fmt: skip


def test_all_samples_have_the_place_of_their_virtual_call_on_both_models() -> None:
    mind = brain()
    mine, *_ = begun(mind)
    assert isinstance(mine, Submit)
    told(mind, arrival(mine, 0.0, 100))
    told(mind, CallArrived(1.0, CallId("other"), key("other"), "large", 400))
    told(mind, CallFinished(2.0, mine.call, Usage(100, 5)))
    (verify,) = (action for action in told(mind, StepEnded(2.0, mine.call, News(5))) if isinstance(action, Submit))
    told(mind, arrival(verify, 2.0, 105))
    drafted, other, verified = (mind.programs[each] for each in (mine.program, key("other"), verify.program))
    assert (verified.rank, verified.born) == (drafted.rank, drafted.born) == (0, 0.0)
    assert other.rank > verified.rank


def placed(prompt: int, samples: int, *, at_once: bool = False) -> list[str]:
    """On which of two engines the samples of one virtual call begin, before or after the first's prompt has been read."""
    mind = Brain(PRESETS["agentserve"])
    for name in ("a", "b"):
        steps = StepCost(0.01, 1 / 2000, decode_request=0.002)
        mind.handle(EngineUp(0.0, EngineId(name), replace(engine("small", 64), kv_tokens=1_000_000, cost=steps)))
    asked = ProcedureSpec(Kind.SELF_CONSISTENCY, "small", samples=samples, segment_tokens=100, decided=None)
    engines: list[str] = []
    for begin in begun(mind, asked):
        arrived = arrival(begin, 5.0 if engines and not at_once else 0.0, prompt)
        engines += [action.engine for action in told(mind, arrived) if isinstance(action, Dispatch)]
        if len(engines) == 1 and not at_once:
            told(mind, CallFirstToken(5.0, arrived.call))
    return engines


def test_samples_share_the_prefix_of_their_prompt_on_one_engine() -> None:
    assert placed(prompt=3000, samples=4) == ["a"] * 4


def test_samples_that_begin_together_on_idle_engines_wait_for_no_sibling_that_reads_the_prompt() -> None:
    assert placed(prompt=3000, samples=4, at_once=True) == ["a", "b", "a", "b"]


def test_samples_spill_over_when_the_prefix_is_short_or_they_are_many() -> None:
    assert set(placed(prompt=20, samples=4)) == {"a", "b"}
    many = placed(prompt=3000, samples=48)
    assert many[:4] == ["a"] * 4
    assert "b" in many


def test_a_decided_vote_frees_the_memory_of_its_siblings_at_once() -> None:
    mind = brain()
    asked = ProcedureSpec(Kind.SELF_CONSISTENCY, "small", samples=5)
    steps = [action for action in begun(mind, asked) if isinstance(action, Submit)]
    for begin in steps:
        assert [type(action) for action in told(mind, arrival(begin, 0.0, 100))] == [Dispatch]
    actions: list[Action] = []
    for begin in steps[:3]:
        told(mind, CallFinished(1.0, begin.call, Usage(100, 50)))
        actions = told(mind, StepEnded(1.0, begin.call, News(50, ended=True, answer="a")))
    assert [action.call for action in actions if isinstance(action, Abort)] == [begin.call for begin in steps[3:]]
    assert (conclusion(actions).verdict, conclusion(actions).saved) == (Verdict.DECIDED, 2 * 50)
    assert not mind.programs
    assert all(engine.account.occupied == 0 and not engine.running for engine in mind.engines.values())


SECONDS = {Stage.DRAFT: 1.0, Stage.VERIFY: 0.1, Stage.TAKEOVER: 10.0}


def takeover_rate(asked: ProcedureSpec) -> float:
    """Of a whole procedure on a draft and a target with three places each, whose steps last `SECONDS`."""
    mind, ends, begins = brain(places=4), list[tuple[float, int, Submit]](), Counter[Stage]()

    def note(now: float, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Submit):
                begins[action.step.stage] += 1
                heappush(ends, (now + SECONDS[action.step.stage], begins.total(), action))

    note(0.0, begun(mind, asked))
    while ends:
        now, _, ended = heappop(ends)
        note(now, told(mind, StepEnded(now, ended.call, News(5, score=-1.0))))
    return begins[Stage.TAKEOVER] / begins[Stage.VERIFY]


def test_the_takeover_rate_follows_the_load_of_the_target() -> None:
    asked = replace(SPEC, samples=300, turns=1)
    assert takeover_rate(replace(asked, follow_load=False)) == 1.0
    assert takeover_rate(asked) == pytest.approx(LEAST_RATE, abs=0.15)


def test_drafts_beyond_a_models_places_wait_for_one_to_end() -> None:
    mind = brain(places=3)
    assert submits(begun(mind)) == ["v/0.0.draft", "v/1.0.draft"]
    assert submits(told(mind, StepEnded(1.0, CallId("v/0.0.draft"), News(5)))) == ["v/2.0.draft", "v/0.0.verify"]


def test_a_client_that_leaves_takes_all_its_calls_with_it() -> None:
    mind = brain(places=3)
    call = next(action for action in begun(mind) if isinstance(action, Submit))
    sent = told(mind, CallArrived(0.0, call.call, call.program, call.model, 400, parent=call.parent))
    assert [type(action) for action in sent] == [Dispatch]
    actions = told(mind, ProcedureCancelled(1.0, "v"))
    assert [action.call for action in actions if isinstance(action, Abort)] == ["v/0.0.draft", "v/1.0.draft"]
    assert not submits(actions)
    assert not mind.calls
    assert not mind.programs
    assert told(mind, StepEnded(2.0, call.call, News(5))) == []


def test_a_target_that_cannot_be_reached_leaves_the_draft_alone_and_the_answer_says_so() -> None:
    mind = brain()
    begun(mind, replace(SPEC, samples=1))
    told(mind, StepEnded(1.0, CallId("v/0.0.draft"), News(5, ended=True, answer="a")))
    found = conclusion(told(mind, StepFailed(2.0, CallId("v/0.0.verify"))))
    assert (found.answer, found.degraded, found.verdict) == ("a", True, Verdict.COMPLETE)


def test_a_target_that_cannot_be_reached_ends_a_strict_procedure_and_its_calls() -> None:
    mind = brain()
    begun(mind, replace(SPEC, strict=True))
    told(mind, StepEnded(1.0, CallId("v/0.0.draft"), News(5)))
    actions = told(mind, StepFailed(2.0, CallId("v/0.0.verify")))
    assert conclusion(actions).verdict is Verdict.FAILED
    assert [action.call for action in actions if isinstance(action, Abort)] == ["v/1.0.draft", "v/2.0.draft"]


def test_a_name_that_is_in_use_begins_nothing() -> None:
    mind = brain()
    begun(mind)
    assert begun(mind) == []


@pytest.mark.parametrize(
    "event",
    [
        ProcedureBegun(1.0, "v", key("v"), replace(SPEC, warm_up=3, decided=0.9), "w"),
        StepEnded(1.0, CallId("v/0.0.draft"), News(5, True, "a", -0.5)),
        StepFailed(1.0, CallId("v/0.0.draft")),
        ProcedureCancelled(1.0, "v"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_events_of_procedures_survive_the_log(event: Event) -> None:
    assert decode(encode(event)) == event
