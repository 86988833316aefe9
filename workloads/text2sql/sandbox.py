"""Runs SQL that nobody has read on a database that must not change.

A statement runs in a process of its own (see `runner`), which may only read, is interrupted when its time is up, and is
killed if it does not stop then: a single call of LIKE or printf can keep SQLite busy for hours without asking anybody.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from workloads.text2sql import runner

Cell: TypeAlias = str | int | float | None
Row: TypeAlias = tuple[Cell, ...]

GRACE = 3.0
"""Seconds from when a statement should have stopped to when its process is killed; its start is among them."""


class SqlError(Exception):
    """The SQL gave no result. The message says why, in words for whoever wrote it."""


class SqlRefusedError(SqlError):
    """It is not one statement that reads."""


class SqlFailedError(SqlError):
    """SQLite cannot run it: a mistake of syntax, a name that does not exist, a text that is too long."""


class SqlTimeoutError(SqlError):
    """It ran longer than it may."""


class SqlTooLargeError(SqlError):
    """It returns more than it may."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A database on which anything may be tried, from any thread. Blobs come back as hexadecimal text."""

    path: Path
    seconds: float = 2.0
    rows: int = 1_000

    def run(self, sql: str) -> list[Row]:
        """All rows of one statement that reads.

        Raises:
            SqlRefusedError: it writes, or is none or more than one statement.
            SqlFailedError: it is wrong.
            SqlTimeoutError: it took longer than `seconds`.
            SqlTooLargeError: it returned more than `rows` rows, or more than `runner.RESULT_BYTES`.
        """
        reply = self._reply(sql)
        match reply.get("error"):
            case "refused":
                raise SqlRefusedError(reply["message"])
            case "failed":
                raise SqlFailedError(reply["message"])
            case "timeout":
                raise self._late()
            case "large":
                megabytes = runner.RESULT_BYTES / 1e6
                raise SqlTooLargeError(f"it returns more than {megabytes:g} MB: choose fewer columns, or aggregate")
        found = [tuple(row) for row in reply["rows"]]
        if len(found) > self.rows:
            raise SqlTooLargeError(f"it returns more than {self.rows:,} rows: aggregate, or add a condition or a LIMIT")
        return found

    def _reply(self, sql: str) -> dict[str, Any]:
        order = {"path": str(self.path.absolute()), "sql": sql, "seconds": self.seconds, "rows": self.rows}
        command = [sys.executable, "-I", "-S", runner.__file__]
        try:
            done = subprocess.run(  # noqa: S603
                command, input=json.dumps(order).encode(), capture_output=True, timeout=self.seconds + GRACE
            )
        except subprocess.TimeoutExpired:
            raise self._late() from None
        if done.returncode:
            raise SqlFailedError(f"the process that ran it ended with code {done.returncode}")
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply

    def _late(self) -> SqlTimeoutError:
        return SqlTimeoutError(f"it was interrupted after {self.seconds:g} s")


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection for our own statements.

    Raises:
        FileNotFoundError: there is no such file.
        SqlFailedError: it is no database.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no database {path}")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master")
    except sqlite3.Error as error:
        connection.close()
        raise SqlFailedError(f"{path} is no SQLite database: {error}") from error
    return connection
