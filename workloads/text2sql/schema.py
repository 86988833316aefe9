"""What an agent can know of a database before it asks anything: tables, columns, keys, and the values in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from workloads.text2sql.sandbox import connect

VALUES = 60
"""Distinct values of a text column that are kept to be found again."""
LONGEST_VALUE = 40
SHOWN_VALUES = 2
"""Of a column, in a prompt."""
ALIKE = 0.75
"""A word and a value that are at least so similar may mean the same."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `references` is `table.column`, or empty; `values` are some that it holds, if it holds text."""

    name: str
    type: str
    references: str = ""
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = "/".join(value for value in self.values[:SHOWN_VALUES])
        words = [
            self.name,
            self.type,
            f"-> {self.references}" if self.references else "",
            f"[{shown}]" if shown else "",
        ]
        return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    name: str
    columns: tuple[Column, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.columns))})"


@dataclass(frozen=True, slots=True)
class Match:
    """A word of the question that may mean a value of a column."""

    word: str
    column: str
    """As `table.column`."""
    values: tuple[str, ...]
    """The most similar first."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A database's tables."""

    tables: tuple[Table, ...]

    @classmethod
    def read(cls, path: Path) -> Schema:
        """Reads it from a database.

        Raises:
            FileNotFoundError: there is no such file.
            SqlFailedError: it is no database.
        """
        with closing(connect(path)) as connection:
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
            ).fetchall()
            return cls(tuple(_table(connection, name) for (name,) in names))

    def __str__(self) -> str:
        return "\n".join(map(str, self.tables))

    def only(self, names: Iterable[str]) -> Schema:
        """The part of it with these tables; all of it if none of the names is a table's."""
        wanted = {name.lower() for name in names}
        return Schema(tuple(table for table in self.tables if table.name.lower() in wanted) or self.tables)

    def named_in(self, text: str) -> list[str]:
        """The tables whose name, in singular or plural, or one of whose values the text contains."""
        words = set(re.findall(r"\w+", text.lower()))
        return [table.name for table in self.tables if _mentioned(table, words)]

    def matches(self, words: Sequence[str]) -> list[Match]:
        """For each word the column whose values are most like it, if any is alike."""
        return [match for word in words if (match := self._match(word)) is not None]

    def _match(self, word: str) -> Match | None:
        found = [
            Match(word, f"{table.name}.{column.name}", values)
            for table in self.tables
            for column in table.columns
            if (values := _alike(word, column.values))
        ]
        return max(found, key=lambda match: _likeness(word, match.values[0]), default=None)


def _table(connection: Connection, name: str) -> Table:
    keys = {
        row[3]: f"{row[2]}.{row[4] or row[3]}"
        for row in connection.execute(f"PRAGMA foreign_key_list({_quoted(name)})")
    }
    columns = connection.execute(f"PRAGMA table_info({_quoted(name)})").fetchall()
    return Table(
        name,
        tuple(
            Column(column, kind, keys.get(column, ""), _values(connection, name, column) if _is_text(kind) else ())
            for _, column, kind, *_ in columns
        ),
    )


def _is_text(kind: str) -> bool:
    return any(word in kind.upper() for word in ("TEXT", "CHAR", "CLOB"))


def _values(connection: Connection, table: str, column: str) -> tuple[str, ...]:
    rows = connection.execute(f"SELECT DISTINCT {_quoted(column)} FROM {_quoted(table)} LIMIT {VALUES}")  # noqa: S608
    return tuple(value for (value,) in rows if isinstance(value, str) and len(value) <= LONGEST_VALUE)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _mentioned(table: Table, words: set[str]) -> bool:
    name = table.name.lower()
    if {name, name.rstrip("s"), name.removesuffix("ies") + "y"} & words:
        return True
    return any(value.lower() in words for column in table.columns for value in column.values)


def _alike(word: str, values: Sequence[str]) -> tuple[str, ...]:
    lowered = {value.lower(): value for value in values}
    return tuple(lowered[name] for name in difflib.get_close_matches(word.lower(), lowered, 3, ALIKE))


def _likeness(word: str, value: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), value.lower()).ratio()
