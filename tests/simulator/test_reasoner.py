"""Virtual models in virtual time: the brain runs the procedures on two simulated pools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from scheduler.brain import Decision
from scheduler.events import EngineUp, Event
from scheduler.log import event_line, replay, snapshot_line
from scheduler.procedures.base import Kind, ProcedureSpec, Selection, Stage, Step
from simulator.intervals import Interval, interval
from simulator.reasoner.bench import Bench
from simulator.reasoner.questions import CORRELATION, Question, Script, Writer, questions, turns_of
from simulator.reasoner.record import Record
from simulator.reasoner.world import Pair, Reasoner

SPEC = ProcedureSpec(Kind.ATTS, "draft", "target", samples=6, decided=None, certain=None, follow_load=False)
ARRIVALS = [0.0, 1.0, 1.0, 20.0]


def world(spec: ProcedureSpec, seed: int = 1) -> tuple[Reasoner, list[Record]]:
    reasoner = Reasoner(Pair(), spec, seed)
    records = reasoner.run(questions(len(ARRIVALS), seed), ARRIVALS)
    reasoner.brain.check_integrity()
    return reasoner, records


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("decided", [None, 0.95])
def test_every_question_is_answered_and_no_call_is_left(kind: Kind, decided: float | None) -> None:
    reasoner, records = world(replace(SPEC, kind=kind, decided=decided))
    assert len(records) == len(ARRIVALS)
    assert not reasoner.gateway.live
    assert not reasoner.brain.calls
    assert all(station.engine.running == station.engine.waiting == 0 for station in reasoner.gateway.stations.values())


def test_programs_of_samples_end_with_them() -> None:
    reasoner, _ = world(SPEC)
    assert not reasoner.brain.programs


def test_a_log_of_procedures_replays_to_the_same_actions() -> None:
    reasoner = Reasoner(Pair(), replace(SPEC, decided=0.95), 2)
    lines = [snapshot_line(reasoner.brain)]

    def note(event: Event, decision: Decision) -> None:
        lines.append(event_line(event, decision.actions))

    reasoner.gateway.listen(note)
    reasoner.run(questions(len(ARRIVALS), 2), ARRIVALS)
    # engines came up before anyone listened
    ups = [event_line(*up) for up in _ups(reasoner)]
    assert replay([lines[0], *ups, *lines[1:]]).first_difference is None


def _ups(reasoner: Reasoner) -> list[tuple[Event, tuple[()]]]:
    return [
        (EngineUp(0.0, station.id, station.spec(station.model.model)), ())
        for station in reasoner.gateway.stations.values()
    ]


def test_without_barriers_answers_come_sooner_and_stopping_early_sooner_still() -> None:
    barrier, free, early = (
        fmean(record.seconds for record in world(spec)[1])
        for spec in (replace(SPEC, kind=Kind.ATTS_BARRIER), SPEC, replace(SPEC, decided=0.95))
    )
    assert early < free < barrier


def test_an_8b_and_a_32b_answer_three_times_sooner_than_with_barriers_and_spare_half_the_targets_tokens() -> None:
    asked, arrivals = hard(8), [60.0 * number for number in range(8)]
    sixteen = replace(SPEC, samples=16)
    barrier, early, best = (
        Reasoner(Pair(), spec, 3).run(asked, arrivals)
        for spec in (
            replace(sixteen, kind=Kind.ATTS_BARRIER),
            replace(sixteen, decided=0.97),
            replace(sixteen, kind=Kind.BEST_OF_N, draft="target", target=""),
        )
    )
    assert fmean(record.seconds for record in barrier) > 3 * fmean(record.seconds for record in early)
    assert sum(record.tokens["target"] for record in best) > 2 * sum(record.tokens["target"] for record in early)


def test_an_aborted_sample_counts_only_what_it_had_written() -> None:
    whole = sum((record.tokens for record in world(SPEC)[1]), Counter[str]())
    early = sum((record.tokens for record in world(replace(SPEC, decided=0.95))[1]), Counter[str]())
    assert 0 < early["draft"] < whole["draft"]


def test_the_same_seed_gives_the_same_answers_and_times() -> None:
    assert [(record.seconds, record.conclusion) for record in world(SPEC)[1]] == [
        (record.seconds, record.conclusion) for record in world(SPEC)[1]
    ]


# --- without engines ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drift", [0.0, 2.0])
def test_the_takeover_rate_holds_in_every_turn_bucket(drift: float) -> None:
    records = Bench(1).run(questions(250, 1, drift=drift), replace(SPEC, samples=16))
    verified = sum((record.verified for record in records), Counter[int]())
    takeovers = sum((record.takeovers for record in records), Counter[int]())
    assert set(verified) == {1, 2, 4, 8}
    for bucket, count in verified.items():
        assert takeovers[bucket] / count == pytest.approx(0.4, abs=0.03), f"turns from {bucket}"


def hard(count: int) -> list[Question]:
    """Questions on which majorities differ."""
    return [replace(question, difficulty=question.difficulty + 1) for question in questions(count, 3)]


def by_question(asked: Sequence[Question], spec: ProcedureSpec) -> dict[str, Record]:
    return {record.question.name: record for record in Bench(3).run(asked, spec)}


def more_often_right(asked: Sequence[Question], ours: ProcedureSpec, theirs: ProcedureSpec) -> Interval:
    """By how much, paired by question, at 95 %."""
    one, other = by_question(asked, ours), by_question(asked, theirs)
    return interval([float(one[name].right) - float(other[name].right) for name in one])


def test_conformal_selection_is_worth_more_than_chance() -> None:
    gain = more_often_right(questions(200, 3, drift=3.0), SPEC, replace(SPEC, selection=Selection.RANDOM))
    assert gain.half is not None
    assert gain.mean - gain.half > 0


def test_without_barriers_answers_are_no_less_often_right() -> None:
    gain = more_often_right(hard(300), SPEC, replace(SPEC, kind=Kind.ATTS_BARRIER))
    assert gain.half is not None
    assert gain.mean - gain.half > -0.02


@pytest.mark.parametrize("writer", ["draft", "target"])
def test_stopping_early_saves_three_tenths_of_the_tokens_and_changes_hardly_an_answer(writer: str) -> None:
    asked, spec = hard(200), replace(SPEC, kind=Kind.SELF_CONSISTENCY, draft=writer, target="", samples=16)
    whole, early = (by_question(asked, replace(spec, decided=decided)) for decided in (None, 0.97))
    assert tokens(early) <= 0.7 * tokens(whole)
    assert fmean(early[name].conclusion.answer == whole[name].conclusion.answer for name in whole) >= 0.995


def tokens(records: Mapping[str, Record]) -> int:
    return sum(record.tokens.total() for record in records.values())


def test_samples_are_as_long_as_measured() -> None:
    draws = Random(5)
    turns = sorted(turns_of(draws) for _ in range(5000))
    assert (turns[2500], turns[4500]) == (2, 9)
    assert fmean(turns) == pytest.approx(3.8, abs=0.3)


def test_scores_of_one_question_are_correlated_as_measured() -> None:
    pairs = []
    for question in questions(2000, 4):
        script = Script(question, 4, 500)
        scores = [script.news(Step(sample, 0, Stage.VERIFY), Writer.TARGET).score or 0.0 for sample in (0, 1)]
        pairs.append(scores)
    one, two = zip(*pairs, strict=True)
    mean = fmean((*one, *two))
    covariance = fmean((a - mean) * (b - mean) for a, b in pairs)
    variance = fmean((a - mean) ** 2 for a in (*one, *two))
    assert covariance / variance == pytest.approx(CORRELATION, abs=0.05)
