"""One check and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could."""
    PROBLEM = "problem"
    """Something that is wanted does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it; `fix` is empty where all is well."""

    name: str
    level: Level
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Level.OK, found)


def warning(name: str, found: str, fix: str) -> Check:
    """It could be better."""
    return Check(name, Level.WARNING, found, fix)


def problem(name: str, found: str, fix: str) -> Check:
    """It does not work."""
    return Check(name, Level.PROBLEM, found, fix)
