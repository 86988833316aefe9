from __future__ import annotations

from pathlib import Path

import pytest

from workloads.text2sql.databases import questions
from workloads.text2sql.load import arrivals, prepare


def test_arrivals_of_a_seed_stretch_with_the_rate() -> None:
    fast, slow = arrivals(50, 2.0, seed=3), arrivals(50, 0.5, seed=3)
    assert fast[0] == 0.0
    assert fast == sorted(fast)
    assert slow == pytest.approx([4 * time for time in fast])
    assert arrivals(50, 2.0, seed=4) != fast
    assert fast[-1] / 49 == pytest.approx(0.5, rel=0.5)


def test_questions_are_prepared_with_their_gold_answers(tmp_path: Path) -> None:
    asked = questions(tmp_path)[:4]
    prepared = prepare(asked)
    assert [item.question for item in prepared] == asked
    assert all(item.gold for item in prepared)
    assert prepared[0].task.schema is prepared[3].task.schema, "a database is read once"
