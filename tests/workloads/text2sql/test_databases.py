from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from workloads.text2sql.databases import Question, digest, questions
from workloads.text2sql.sandbox import Sandbox


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    return questions(tmp_path_factory.mktemp("databases"))


def test_there_are_sixty_different_questions_twenty_a_database(asked: list[Question]) -> None:
    assert sorted(Counter(question.database.name for question in asked).values()) == [20, 20, 20]
    assert len({question.text for question in asked}) == len({question.gold for question in asked}) == 60
    assert [question.id for question in asked[:4]] == ["shop-01", "bank-01", "hospital-01", "shop-02"]


def test_every_gold_sql_runs_and_says_something(asked: list[Question]) -> None:
    for question in asked:
        rows = Sandbox(question.database).run(question.gold)
        assert 0 < len(rows) <= 25, f"{question.id} has {len(rows)} rows"
        assert all(cell not in (None, 0, "") for row in rows for cell in row), f"{question.id} says nothing: {rows}"


def test_examples_run_and_give_no_question_away(asked: list[Question]) -> None:
    golds, texts = {question.gold for question in asked}, {question.text for question in asked}
    examples = {(question.database, pair) for question in asked for pair in question.examples}
    assert len(examples) == 24
    for database, pair in examples:
        assert Sandbox(database).run(pair.sql)
        assert pair.sql not in golds
        assert pair.text not in texts


def test_databases_are_the_same_wherever_they_are_made(asked: list[Question], tmp_path: Path) -> None:
    again = {question.database.name: digest(question.database) for question in questions(tmp_path)}
    assert again == {question.database.name: digest(question.database) for question in asked}
    assert len(set(again.values())) == 3


def test_a_database_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    made = {question.database for question in questions(tmp_path)}
    before = {path: path.stat().st_mtime_ns for path in made}
    questions(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
