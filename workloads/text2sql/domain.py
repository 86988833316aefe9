"""What a generated database is: its tables, how they are filled, and what is asked of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Pair:
    """A question in words, and SQL that answers it."""

    text: str
    sql: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A database to generate. `examples` are for prompts, and none of them is among the `questions`."""

    name: str
    ddl: str
    """The statements that create its tables."""
    fill: Callable[[sqlite3.Connection, Random], None]
    """Puts rows into the empty tables; the same for the same state of the generator."""
    examples: tuple[Pair, ...]
    questions: tuple[Pair, ...]


_FIRST = (
    "Ada Amir Anna Boris Carla Chen Dora Elif Emil Eva Farid Grace Hana Igor Ines Ivan Jonas Julia Kofi Lara Leo Lina "
    "Marco Maria Mei Milan Nadia Nora Omar Paula Pedro Rosa Samir Sara Sofia Tomas Uma Viktor Yara Zoe"
)
_LAST = (
    "Adler Baker Berg Costa Cruz Diaz Eriksen Fischer Garcia Haas Ito Jansen Kaya Keller Kim Kovac Lang Lopez Meyer "
    "Moreau Nagy Novak Okafor Olsen Park Patel Petrov Rossi Sato Schmidt Silva Singh Stein Tanaka Vogel Weber Wolf Yilmaz"
)
FIRST_NAMES, LAST_NAMES = _FIRST.split(), _LAST.split()
CITIES = ("Berlin", "Hamburg", "Munich", "Vienna", "Zurich", "Prague", "Paris", "Lyon", "Milan", "Madrid")


def person(rng: Random) -> str:
    """A first and a last name."""
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"


def day(rng: Random, first: int = 2021, last: int = 2024) -> str:
    """A date of these years, as SQLite compares them: 2023-05-17."""
    return f"{rng.randint(first, last)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def insert(connection: sqlite3.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    """Adds rows to a table of ours."""
    marks = ", ".join("?" * len(rows[0]))
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
