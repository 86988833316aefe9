"""The generated databases on disk: made on first use, and the same wherever they are made."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from workloads.text2sql.domain import Domain, Pair
from workloads.text2sql.domains import DOMAINS

CACHE = Path(".text2sql/databases")
VERSION = 1
"""Raise it with any change of what the databases hold."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question on one of the generated databases, with SQL that is known to answer it."""

    id: str
    database: Path
    text: str
    gold: str
    examples: tuple[Pair, ...]


def prepare(domain: Domain, folder: Path = CACHE) -> Path:
    """The domain's database, which is made if the folder does not have it yet.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / f"{domain.name}-{VERSION}.sqlite"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.part")
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(draft)) as connection:
            connection.executescript(domain.ddl)
            domain.fill(connection, Random(domain.name))
            connection.commit()
        draft.rename(path)
    return path


def questions(folder: Path = CACHE) -> list[Question]:
    """All questions, a database after the other in turns, so that any beginning has some of each."""
    return list(_in_turns([list(_questions(domain, folder)) for domain in DOMAINS]))


def digest(path: Path) -> str:
    """What tells whether a database was modified."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _questions(domain: Domain, folder: Path) -> Iterator[Question]:
    path = prepare(domain, folder)
    for number, pair in enumerate(domain.questions, 1):
        yield Question(f"{domain.name}-{number:02}", path, pair.text, pair.sql, domain.examples)


def _in_turns(groups: Sequence[Sequence[Question]]) -> Iterator[Question]:
    for rank in range(max(map(len, groups))):
        yield from (group[rank] for group in groups if rank < len(group))
