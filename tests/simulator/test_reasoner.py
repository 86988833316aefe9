"""Virtual models in virtual time: the brain runs the procedures on two simulated pools."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import fmean

import pytest

from scheduler.brain import Decision
from scheduler.events import EngineUp, Event
from scheduler.log import event_line, replay, snapshot_line
from scheduler.procedures.base import Kind, ProcedureSpec, Selection, Stage, Step
from simulator.reasoner.bench import Bench
from simulator.reasoner.questions import CORRELATION, Script, Writer, questions
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


def test_conformal_selection_is_worth_more_than_chance() -> None:
    asked = questions(200, 3, drift=3.0)
    conformal, chance = (
        sum(record.right for record in Bench(3).run(asked, replace(SPEC, selection=selection)))
        for selection in (Selection.CONFORMAL, Selection.RANDOM)
    )
    assert conformal > chance


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
