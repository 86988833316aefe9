"""Request traces with block hashes: Mooncake's, and the sessions that aiperf generates in the same form.

One JSON object a line. Times are milliseconds; `hash_ids` name blocks of 512 tokens, the same in all rows, the last
one perhaps not full. A row without a session is a program of one call, which arrives at `timestamp`. Rows with the
same `session_id` stand together and are one program: of its first row `input_length` is the whole prompt, of each
other the tokens that are new, and `delay` is the gap before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter

from workloads.jsonl import parse
from workloads.program import MAX_SECONDS, MAX_TOKENS, Call, Edge, Program, Tokens
from workloads.traces.damage import Damage
from workloads.traces.prefixes import PrefixTree
from workloads.traces.source import Source

BLOCK_TOKENS: Tokens = 512
WORKFLOW = "agent_session"

_Milliseconds = Annotated[float, Field(ge=0, le=1000 * MAX_SECONDS, allow_inf_nan=False)]
_Length = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
_Hash = Annotated[int, Field(ge=0, lt=2**64)]


class _Row(BaseModel):
    session_id: str | None = None
    timestamp: _Milliseconds = 0.0
    delay: _Milliseconds = 0.0
    input_length: _Length
    output_length: _Length
    hash_ids: list[_Hash] = []


_ROW = TypeAdapter(_Row)


def read_blocks(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields a program a row or session, as it reads."""
    tree = PrefixTree(source.label, BLOCK_TOKENS)
    for where, rows in _sessions(source, damage):
        name = rows[0].session_id or f"{source.label}-{where.rpartition(':')[2]}"
        program = damage.attempt(where, _program, name, rows, tree)
        if program is not None:
            yield program


def _sessions(source: Source, damage: Damage) -> Iterator[tuple[str, list[_Row]]]:
    """The rows of each session, or single rows, and where they begin."""
    begin, rows = "", list[_Row]()
    for where, line in source.lines():
        row = damage.attempt(where, parse, _ROW, line)
        if row is None:
            continue
        if rows and (row.session_id is None or row.session_id != rows[0].session_id):
            yield begin, rows
            rows = []
        begin = begin if rows else where
        rows.append(row)
    if rows:
        yield begin, rows


def _program(name: str, rows: Sequence[_Row], tree: PrefixTree) -> Program:
    first = rows[0]
    prefix = tree.path(first.hash_ids, first.input_length - 1)
    own = first.input_length - sum(shared.tokens for shared in prefix)
    calls = [Call("0", own, first.output_length, prefix=prefix)]
    for index, row in enumerate(rows[1:], start=1):
        before = str(index - 1)
        calls.append(Call(str(index), row.input_length, row.output_length, (Edge(before, row.delay / 1000),), before))
    workflow = "" if first.session_id is None else WORKFLOW
    return Program(name, first.timestamp / 1000, tuple(calls), workflow=workflow)
