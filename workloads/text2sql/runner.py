"""The process in which one statement runs: a JSON object comes in on stdin, and one goes out on stdout.

It is started by its path, on its own and isolated, so it imports the standard library alone. The connection is
read-only, and besides that only reading is authorised: no write, no PRAGMA, no ATTACH, no transaction, no extension.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

CHECK_EVERY = 1_000
"""Instructions of SQLite's machine between two looks at the clock."""
CELL_BYTES = 100_000
"""No string or blob may be longer."""
RESULT_BYTES = 10_000_000
"""Of all rows together, as JSON."""
MEMORY_BYTES = 1 << 30

_READS = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE),
)
_DENIED = (
    "INSERT UPDATE DELETE PRAGMA ATTACH DETACH TRANSACTION SAVEPOINT REINDEX ANALYZE ALTER_TABLE CREATE_TABLE DROP_TABLE "
    "CREATE_INDEX DROP_INDEX CREATE_VIEW DROP_VIEW CREATE_TRIGGER CREATE_TEMP_TABLE CREATE_TEMP_VIEW CREATE_TEMP_TRIGGER "
    "CREATE_VTABLE"
)
_NAMES = {getattr(sqlite3, f"SQLITE_{name}"): name.replace("_", " ") for name in _DENIED.split()}


class Guard:
    """What SQLite asks while it compiles and runs a statement."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self.late = False
        self.denied = ""
        """The first thing that was not allowed."""

    def authorise(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        """Whether a part of a statement may be compiled."""
        if action in _READS and (second or "").lower() != "load_extension":
            return sqlite3.SQLITE_OK
        self.denied = self.denied or " ".join(filter(None, (_NAMES.get(action, ""), first or second)))
        return sqlite3.SQLITE_DENY

    def out_of_time(self) -> int:
        """Whether the statement has to stop."""
        self.late = time.monotonic() > self._deadline
        return self.late


def reply(path: str, sql: str, seconds: float, rows: int) -> str:
    """What `run` says, as JSON; an error if that is too long."""
    try:
        text = json.dumps(run(path, sql, seconds, rows))
    except MemoryError:
        return json.dumps({"error": "large", "message": ""})
    return text if len(text) <= RESULT_BYTES else json.dumps({"error": "large", "message": ""})


def run(path: str, sql: str, seconds: float, rows: int) -> Mapping[str, Any]:
    """`{"rows": ...}`, at most one more than asked for; or `{"error": ..., "message": ...}`."""
    guard = Guard(seconds)
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CELL_BYTES)
            connection.set_authorizer(guard.authorise)
            connection.set_progress_handler(guard.out_of_time, CHECK_EVERY)
            cursor = connection.execute(sql)
            if cursor.description is None:
                return {"error": "refused", "message": "there is no statement: write one SELECT"}
            return {"rows": [[_cell(value) for value in row] for row in cursor.fetchmany(rows + 1)]}
    except (sqlite3.Error, sqlite3.Warning, ValueError, MemoryError) as error:
        return _problem(guard, error)


def _problem(guard: Guard, error: BaseException) -> Mapping[str, str]:
    if guard.late:
        return {"error": "timeout", "message": ""}
    if guard.denied:
        return {"error": "refused", "message": f"only reading is allowed, not {guard.denied}"}
    if "one statement" in str(error):
        return {"error": "refused", "message": "only one statement at a time is allowed"}
    return {"error": "failed", "message": str(error) or "it needs too much memory"}


def _cell(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        return  # a system without such limits still has the others


if __name__ == "__main__":
    _limit_memory()
    sys.stdout.write(reply(**json.load(sys.stdin)))
