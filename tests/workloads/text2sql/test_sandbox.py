"""What unread SQL may do, and what it may not: in no case may the database change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workloads.text2sql import runner
from workloads.text2sql.databases import digest, prepare
from workloads.text2sql.domains import SHOP
from workloads.text2sql.sandbox import (
    Sandbox,
    SqlFailedError,
    SqlRefusedError,
    SqlTimeoutError,
    SqlTooLargeError,
    connect,
)

COUNTING = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SHOP, tmp_path_factory.mktemp("databases"))


@pytest.fixture
def sandbox(database: Path) -> Iterator[Sandbox]:
    """A sandbox of a database whose file, and whose folder, are afterwards what they were."""
    before = digest(database)
    yield Sandbox(database)
    assert digest(database) == before
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_a_question_is_answered(sandbox: Sandbox) -> None:
    assert sandbox.run("SELECT name FROM categories ORDER BY name LIMIT 2;") == [("Books",), ("Electronics",)]
    assert sandbox.run(f"{COUNTING} SELECT x FROM n LIMIT 3") == [(1,), (2,), (3,)]
    assert sandbox.run("SELECT x'c0de', NULL, 1.5") == [("c0de", None, 1.5)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "INSERT INTO categories VALUES (99, 'Cars')",
        "REPLACE INTO categories VALUES (1, 'Cars')",
        "UPDATE products SET price = 0",
        "DROP TABLE orders",
        "CREATE TABLE extra (id)",
        "CREATE TEMP TABLE extra (id)",
        "ALTER TABLE orders RENAME TO gone",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = 1",
        "ATTACH 'other.sqlite' AS other",
        "VACUUM",
        "VACUUM INTO 'copy.sqlite'",
        "BEGIN IMMEDIATE",
        "WITH gone AS (SELECT 1) DELETE FROM orders WHERE id IN gone",
        "SELECT load_extension('evil')",
    ],
)
def test_what_does_more_than_read_is_refused(sandbox: Sandbox, sql: str) -> None:
    with pytest.raises(SqlRefusedError, match="only reading is allowed, not "):
        sandbox.run(sql)


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "SELECT 1; DELETE FROM orders"])
def test_several_statements_are_refused(sandbox: Sandbox, sql: str) -> None:
    with pytest.raises(SqlRefusedError, match="one statement"):
        sandbox.run(sql)


@pytest.mark.parametrize("sql", ["", "  ", "-- nothing", ";"])
def test_no_statement_is_refused(sandbox: Sandbox, sql: str) -> None:
    with pytest.raises(SqlRefusedError, match="no statement"):
        sandbox.run(sql)


@pytest.mark.parametrize(
    "sql",
    [
        f"{COUNTING} SELECT COUNT(*) FROM n",
        "SELECT COUNT(*) FROM order_items a, order_items b, order_items c, order_items d",
        f"{COUNTING} SELECT x FROM n ORDER BY random()",
    ],
)
def test_what_never_ends_is_interrupted(sandbox: Sandbox, sql: str) -> None:
    with pytest.raises(SqlTimeoutError, match=r"interrupted after 0\.2 s"):
        Sandbox(sandbox.path, seconds=0.2).run(sql)


def test_what_does_not_stop_when_it_is_interrupted_is_killed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.text2sql.sandbox.GRACE", 0.5)
    with pytest.raises(SqlTimeoutError):
        Sandbox(sandbox.path, seconds=0.1).run("SELECT printf('%.*c', 2000000000, 'x') LIKE '%y%'")


def test_a_million_rows_are_cut_with_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(SqlTooLargeError, match="more than 1,000 rows"):
        sandbox.run(f"{COUNTING} SELECT x FROM n LIMIT 1000000")
    with pytest.raises(SqlTooLargeError, match="more than 2 rows"):
        Sandbox(sandbox.path, rows=2).run("SELECT id FROM categories")
    assert len(Sandbox(sandbox.path, rows=6).run("SELECT id FROM categories")) == 6, "exactly as many as allowed"


def test_rows_that_are_too_long_together_are_cut_with_an_error(sandbox: Sandbox) -> None:
    with pytest.raises(SqlTooLargeError, match="more than 10 MB"):
        sandbox.run(f"{COUNTING} SELECT hex(zeroblob(49000)) FROM n LIMIT 200")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM orders", "no such column: nope"),
        ("SELECT 1 FROM nowhere", "no such table: nowhere"),
        ("SELECT hex(zeroblob(500000000))", "too big"),
        ("SELECT '\0'", "null character"),
        ("SELECT '\ud800'", "surrogates not allowed"),
        ("the model has not written any SQL", "syntax error"),
    ],
)
def test_what_is_wrong_is_told(sandbox: Sandbox, sql: str, reason: str) -> None:
    with pytest.raises(SqlFailedError, match=reason):
        sandbox.run(sql)


def test_a_process_that_dies_is_told(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = tmp_path / "dies.py"
    dies.write_text("import sys; sys.exit(9)")
    monkeypatch.setattr(runner, "__file__", str(dies))
    with pytest.raises(SqlFailedError, match="ended with code 9"):
        sandbox.run("SELECT 1")


def test_the_runners_rules_hold_in_this_process_too(database: Path) -> None:
    def run(sql: str, seconds: float = 5.0) -> object:
        return dict(runner.run(str(database), sql, seconds, rows=2))

    assert run("SELECT id, x'ff' FROM categories") == {"rows": [[1, "ff"], [2, "ff"], [3, "ff"]]}, "one more than asked"
    assert run("DELETE FROM orders") == {"error": "refused", "message": "only reading is allowed, not DELETE orders"}
    assert run(f"{COUNTING} SELECT COUNT(*) FROM n", 0.0) == {"error": "timeout", "message": ""}
    assert run("SELECT 1; SELECT 2") == {"error": "refused", "message": "only one statement at a time is allowed"}
    assert run("") == {"error": "refused", "message": "there is no statement: write one SELECT"}
    assert run("SELEC") == {"error": "failed", "message": 'near "SELEC": syntax error'}


def test_a_database_that_is_not_there_or_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no database .*gone\.sqlite"):
        connect(tmp_path / "gone.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text("this is a text, and no database at all" * 40)
    with pytest.raises(SqlFailedError, match="is no SQLite database"):
        connect(text)
    with pytest.raises(SqlFailedError, match="unable to open"):
        Sandbox(tmp_path / "gone.sqlite").run("SELECT 1")
    assert not (tmp_path / "gone.sqlite").exists()


def test_a_path_with_odd_characters_is_a_path(database: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a?mode=rwc#b %20.sqlite"
    odd.write_bytes(database.read_bytes())
    assert Sandbox(odd).run("SELECT COUNT(*) FROM categories") == [(6,)]
