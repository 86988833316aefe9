"""Text-to-SQL workflows: the calls that CHESS made for each query, as HexGen-Text2SQL's traces list them.

A JSON list of queries, each a list of steps with their lengths. A query is a program that arrives at 0. Candidates
that follow each other run in parallel, and so do evaluations; every other step waits for the one before it. Each step
is a prompt of its own: the trace does not say what prompts share, so they share nothing. Times of the database are
not in it either, so nothing lies between two steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter

from workloads.jsonl import parse
from workloads.program import MAX_TOKENS, Call, Edge, Program, WorkloadError
from workloads.traces.damage import Damage
from workloads.traces.source import Source

WORKFLOW = "text2sql"
PARALLEL = ("generate_candidate", "evaluate")
"""What the names of steps begin with that run in parallel with their neighbours of the same name."""

_Length = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class _Step(BaseModel):
    step: str
    input_length: _Length
    output_length: _Length


class _Query(BaseModel):
    steps: list[_Step] = Field(alias="Text2SQLRequest", min_length=1)


_QUERY = TypeAdapter(_Query)


def read_text2sql(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields a program a query."""
    queries = damage.attempt(source.name, _queries, source.whole()) or []
    for index, query in enumerate(queries):
        program = damage.attempt(f"{source.name}: [{index}]", _program, f"{source.label}-{index}", query)
        if program is not None:
            yield program


def _queries(text: bytes) -> list[object]:
    try:
        queries = json.loads(text)
    except ValueError as error:
        raise WorkloadError(f"invalid JSON: {error}") from None
    if not isinstance(queries, list):
        raise WorkloadError("a list of queries was expected")
    return queries


def _program(name: str, query: object) -> Program:
    steps = parse(_QUERY, json.dumps(query).encode()).steps
    calls: list[Call] = []
    before: tuple[Edge, ...] = ()
    for group in _groups(steps):
        fresh = [
            Call(str(len(calls) + place), step.input_length, step.output_length, before, stage=step.step)
            for place, step in enumerate(group)
        ]
        calls += fresh
        before = tuple(Edge(call.id) for call in fresh)
    return Program(name, 0.0, tuple(calls), workflow=WORKFLOW)


def _groups(steps: Sequence[_Step]) -> Iterator[list[_Step]]:
    """The steps that run at the same time, in order."""
    group: list[_Step] = []
    for step in steps:
        if group and not (step.step == group[0].step and step.step.startswith(PARALLEL)):
            yield group
            group = []
        group.append(step)
    yield group
