"""Traffic like the recorded one, drawn anew for each seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import TypeAlias

from workloads.program import Call, Program, Seconds

Family: TypeAlias = tuple[Program, ...]
"""A program without a parent, and the children that follow it."""


def resampled(families: Sequence[Family], seed: int) -> Iterator[Program]:
    """Programs at the recorded times of arrival, each drawn from all of the recorded ones (Efron's bootstrap, 1979).

    So that a setting is judged by traffic of the same kind, not by the accidents of one recording. A program that is
    drawn twice shares no more than two recorded ones would.
    """
    rng = Random(f"resample/{seed}")
    for number, place in enumerate(families):
        yield from moved(rng.choice(families), place[0].arrival_s, f"#{number}")


def moved(family: Family, arrival: Seconds, suffix: str) -> Iterator[Program]:
    """The family at another time of arrival, its programs' names ending in the suffix."""
    begin = family[0].arrival_s
    for program in family:
        yield replace(
            program,
            id=program.id + suffix,
            arrival_s=arrival + (program.arrival_s - begin),
            parent=None if program.parent is None else program.parent + suffix,
            calls=tuple(_renamed(call, suffix) for call in program.calls),
        )


def _renamed(call: Call, suffix: str) -> Call:
    """The call, with what it waits for in other programs of its family under their new names."""
    if not any(edge.program for edge in call.after):
        return call
    after = (replace(edge, program=edge.program + suffix) if edge.program else edge for edge in call.after)
    return replace(call, after=tuple(after))
