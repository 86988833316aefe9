"""The procedures as state machines: what they begin, stop and conclude."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.procedures.atts import Atts, BarrierAtts
from scheduler.procedures.base import (
    Begin,
    Command,
    Conclude,
    Kind,
    News,
    ProcedureSpec,
    Stage,
    Step,
    Stop,
    Verdict,
    Vote,
)
from scheduler.procedures.best_of_n import BestOfN
from scheduler.procedures.conformal import Calibration
from scheduler.procedures.sampling import Sampling
from scheduler.procedures.self_consistency import SelfConsistency

ATTS = ProcedureSpec(Kind.ATTS, "small", "large", samples=2, turns=3, takeover=1.0, decided=None)
PLAIN = ProcedureSpec(Kind.SELF_CONSISTENCY, "small", samples=6, decided=None)
ENDED = News(10, ended=True, answer="a")


def atts(spec: ProcedureSpec = ATTS) -> Atts:
    kind = BarrierAtts if spec.kind is Kind.ATTS_BARRIER else Atts
    return kind(spec, Calibration(1), "", "p")


def begun(commands: list[Command]) -> list[str]:
    return [str(command.step) for command in commands if isinstance(command, Begin)]


def step(text: str) -> Step:
    sample, turn, stage = text.split(".")
    return Step(int(sample), int(turn), Stage(stage))


def hear(procedure: Sampling, name: str, news: News, rate: float = 1.0) -> list[Command]:
    return procedure.heard(step(name), news, rate)


def conclusion(commands: list[Command]) -> Conclude:
    (found,) = [command for command in commands if isinstance(command, Conclude)]
    return found


def test_a_turn_is_a_draft_its_score_and_a_takeover() -> None:
    procedure = atts()
    assert begun(procedure.begin()) == ["0.0.draft", "1.0.draft"]
    assert begun(hear(procedure, "0.0.draft", News(10))) == ["0.0.verify"]
    assert begun(hear(procedure, "0.0.verify", News(score=-1.0), rate=1.0)) == ["0.0.takeover"]
    assert begun(hear(procedure, "0.0.takeover", News(10))) == ["0.1.draft"]


def test_a_text_that_ended_is_checked_and_continued_and_what_the_target_says_counts() -> None:
    procedure = atts(replace(ATTS, samples=1))
    procedure.begin()
    assert begun(hear(procedure, "0.0.draft", ENDED)) == ["0.0.verify"]
    hear(procedure, "0.0.verify", News(score=-1.0))
    assert conclusion(hear(procedure, "0.0.takeover", News(10, ended=True, answer="b"))).answer == "b"


def test_without_takeovers_nothing_is_scored() -> None:
    procedure = atts(replace(ATTS, takeover=0.0))
    procedure.begin()
    assert begun(hear(procedure, "0.0.draft", News(10))) == ["0.1.draft"]


def test_a_draft_that_never_stops_ends_with_its_turns() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=1, turns=2))
    procedure.begin()
    assert begun(hear(procedure, "0.0.draft", News(500))) == ["0.1.draft"]
    assert conclusion(hear(procedure, "0.1.draft", News(500))).verdict is Verdict.NO_ANSWER


def test_a_decided_vote_stops_the_others() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=6, decided=0.95))
    procedure.begin()
    for sample in range(2):
        assert not begun(hear(procedure, f"{sample}.0.draft", ENDED))
    commands = hear(procedure, "2.0.draft", ENDED)
    stopped = [str(command.step) for command in commands if isinstance(command, Stop)]
    assert stopped == ["3.0.draft", "4.0.draft", "5.0.draft"]
    found = conclusion(commands)
    assert (found.verdict, found.answer, found.votes, found.sample) == (Verdict.DECIDED, "a", 3, 0)
    assert hear(procedure, "3.0.draft", ENDED) == []


def test_what_stopped_samples_would_have_written_is_saved() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=4, decided=0.97))
    procedure.begin()
    hear(procedure, "3.0.draft", News(4))
    hear(procedure, "0.0.draft", ENDED)
    hear(procedure, "1.0.draft", ENDED)
    assert conclusion(hear(procedure, "2.0.draft", ENDED)).saved == 10 - 4


def test_a_sample_that_says_the_same_again_and_again_is_over() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=1, certain=2))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10, answer="a"))
    assert conclusion(hear(procedure, "0.1.draft", News(10, answer="a"))).answer == "a"


def test_a_sample_less_confident_than_the_warm_up_is_dropped() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=3, warm_up=2, discard=0.0))
    procedure.begin()
    hear(procedure, "0.0.draft", ENDED._replace(confidence=-1.0))
    hear(procedure, "1.0.draft", ENDED._replace(confidence=-2.0))
    found = conclusion(hear(procedure, "2.0.draft", News(10, answer="b", confidence=-3.0)))
    assert (found.answer, found.voters) == ("a", 2)


def test_the_best_sample_is_the_most_confident() -> None:
    procedure = BestOfN(replace(PLAIN, samples=3))
    procedure.begin()
    hear(procedure, "0.0.draft", ENDED._replace(confidence=-2.0))
    hear(procedure, "1.0.draft", ENDED._replace(confidence=-2.0))
    found = conclusion(hear(procedure, "2.0.draft", News(10, True, "b", confidence=-1.0)))
    assert (found.answer, found.sample, found.votes, found.voters) == ("b", 2, 1, 3)


def test_a_target_that_fails_leaves_the_draft_to_go_on_alone() -> None:
    procedure = atts(replace(ATTS, samples=1))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10))
    assert begun(procedure.failed(step("0.0.verify"))) == ["0.1.draft"]
    hear(procedure, "0.1.draft", ENDED)
    found = conclusion(procedure.failed(step("0.1.verify")))
    assert (found.answer, found.degraded) == ("a", True)


@pytest.mark.parametrize("stage", [Stage.VERIFY, Stage.TAKEOVER])
def test_a_target_that_fails_is_an_error_where_strict(stage: Stage) -> None:
    procedure = atts(replace(ATTS, strict=True))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10))
    if stage is Stage.TAKEOVER:
        hear(procedure, "0.0.verify", News(score=-1.0))
    commands = procedure.failed(Step(0, 0, stage))
    assert conclusion(commands).verdict is Verdict.FAILED
    assert [str(command.step) for command in commands if isinstance(command, Stop)] == ["1.0.draft"]


def test_a_verification_without_a_score_has_failed() -> None:
    procedure = atts(replace(ATTS, samples=1))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10))
    hear(procedure, "0.0.verify", News())
    assert procedure.degraded


def test_a_sample_whose_draft_fails_votes_with_the_answer_that_it_has_shown_if_any() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=3))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10, answer="a"))
    procedure.failed(step("0.1.draft"))
    procedure.failed(step("1.0.draft"))
    found = conclusion(hear(procedure, "2.0.draft", ENDED))
    assert (found.verdict, found.answer, found.votes, found.voters) == (Verdict.COMPLETE, "a", 2, 2)


def test_where_every_draft_fails_without_an_answer_the_procedure_has_failed() -> None:
    procedure = SelfConsistency(replace(PLAIN, samples=2))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10))
    procedure.failed(step("0.1.draft"))
    assert conclusion(procedure.failed(step("1.0.draft"))).verdict is Verdict.FAILED


def test_without_takeovers_the_best_sample_is_the_one_of_which_the_draft_is_surest() -> None:
    procedure = atts(replace(ATTS, takeover=0.0, vote=Vote.BEST))
    procedure.begin()
    hear(procedure, "0.0.draft", ENDED._replace(confidence=-2.0))
    assert conclusion(hear(procedure, "1.0.draft", News(10, True, "b", confidence=-1.0))).answer == "b"


def test_a_barrier_holds_the_next_turn_until_all_have_ended_the_last() -> None:
    procedure = atts(replace(ATTS, kind=Kind.ATTS_BARRIER, takeover=0.5))
    procedure.begin()
    hear(procedure, "0.0.draft", News(10))
    assert begun(hear(procedure, "0.0.verify", News(score=1.0), rate=0.0)) == []
    hear(procedure, "1.0.draft", News(10))
    assert begun(procedure.failed(step("1.0.verify"))) == ["0.1.draft", "1.1.draft"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("samples", 0), ("turns", 0), ("segment_tokens", 0), ("takeover", 1.5), ("decided", 1.0), ("certain", 0)],
)
def test_a_budget_that_cannot_be_is_an_error_that_names_it(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(ATTS, **{field: value})  # type: ignore[arg-type]


def test_a_target_is_needed_where_one_verifies() -> None:
    with pytest.raises(ValueError, match="needs a target"):
        ProcedureSpec(Kind.ATTS, "small")
