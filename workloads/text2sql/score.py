"""Execution accuracy: whether SQL returns what the gold SQL returns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from workloads.text2sql.sandbox import Cell, Row

DIGITS = 4
"""Decimals in which numbers have to agree."""


def same_result(gold_sql: str, gold: Sequence[Row], rows: Sequence[Row]) -> bool:
    """Whether the rows are the gold's: the same rows as often, and in the same order if the gold SQL sorts them."""
    wanted, found = [list(map(_plain, row)) for row in gold], [list(map(_plain, row)) for row in rows]
    if re.search(r"\border\s+by\b[^()]*$", gold_sql, re.IGNORECASE):
        return wanted == found
    return Counter(map(tuple, wanted)) == Counter(map(tuple, found))


def _plain(cell: Cell) -> Cell:
    return round(float(cell), DIGITS) if isinstance(cell, int | float) else cell
