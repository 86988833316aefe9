"""The questions and the arithmetic of the benchmark of virtual models on real engines."""

from __future__ import annotations

import pytest

from scheduler.procedures.answers import Extraction, Rule
from scheduler.procedures.base import Kind
from tests.benchmarks.reasoner.arms import ALONE, ARMS, BARRIER, BEST, FREE, OURS, Budget, section
from tests.benchmarks.reasoner.pair import DRAFT, TARGET
from tests.benchmarks.reasoner.questions import ANSWER, SHOWN, questions
from tests.benchmarks.reasoner.report import Asked, figures, markdown, rate_of

EXTRACTION = Extraction(Rule.REGEX, ANSWER)


def asked(question: int, arm: str, seconds: float, **counts: int) -> Asked:
    return Asked(question, arm, seconds, True, "7", {TARGET: 100, **counts}, {DRAFT: seconds / 4, TARGET: seconds / 2})


def whole(seconds: dict[str, float]) -> list[Asked]:
    return [
        asked(number, arm, seconds[arm] * (1 + number), verify=10, takeover=4 + number)
        for number in range(2)
        for arm in ARMS
    ]


def test_questions_repeat_and_differ_and_their_answers_are_found_in_words() -> None:
    assert questions(9, 1) == questions(9, 1) != questions(9, 2)
    assert len({question.task.text for question in questions(30, 1)}) == 30
    for question in questions(12, 3):
        assert question.is_right(EXTRACTION.find(question.task.worked))
        assert not question.is_right(EXTRACTION.find("The answer is Zoe."))
    assert not questions(1, 1)[0].is_right(None)


def test_a_question_is_asked_after_solved_ones_of_its_kind() -> None:
    question = questions(3, 1)[2]
    roles = [message["role"] for message in question.messages]
    assert roles == ["user", "assistant"] * SHOWN + ["user"]
    assert question.messages[-1]["content"] == question.task.text
    assert all("boxes" in example.text and example != question.task for example in question.shown)


def test_the_arms_differ_in_the_barrier_and_in_stopping_alone() -> None:
    specs = {arm: found.spec for arm in ARMS if (found := section(arm, Budget())) is not None}
    assert ALONE not in specs
    assert specs[BARRIER].kind is Kind.ATTS_BARRIER
    for arm in (BARRIER, FREE, OURS):
        spec = specs[arm]
        assert (spec.samples, spec.turns, spec.segment_tokens, spec.takeover) == (8, 5, 32, 0.4)
        assert not spec.follow_load
    assert specs[FREE].decided is None
    assert specs[OURS].decided == 0.97
    assert specs[BEST].segment_tokens == 2 * 5 * 32


def test_the_rate_is_pooled_over_all_that_was_checked() -> None:
    assert rate_of([asked(0, FREE, 1.0, verify=10, takeover=5), asked(1, FREE, 1.0, verify=30, takeover=5)]) == 0.25
    assert rate_of([asked(0, ALONE, 1.0)]) is None


def test_times_are_compared_question_by_question() -> None:
    found = figures(whole({ALONE: 1.0, BEST: 3.0, BARRIER: 4.0, FREE: 2.0, OURS: 1.0}), 0.4)
    times = found["time to answer"]
    assert isinstance(times, dict)
    assert times[f"{BARRIER} / {FREE}"]["value"] == pytest.approx(2.0)
    assert times[f"{BARRIER} / {OURS}"]["value"] == pytest.approx(4.0)
    assert found["takeover rate"] == {"asked": 0.4, "found": pytest.approx(0.45)}


def test_the_report_has_a_row_for_every_arm_and_every_figure_asked_for() -> None:
    found = figures(whole(dict.fromkeys(ARMS, 1.0)), 0.4)
    text = markdown({"what": "w", "budget": "b", "command": "c", "note": "n", "figures": found})
    assert all(f"| {arm} |" in text for arm in ARMS)
    assert "| takeover rate, pooled | 0.40 +- 0.05 | 0.45 |" in text
    assert f"| time to answer, {BARRIER} / {OURS} | 1.8x | 1.00x [1.00, 1.00] |" in text
