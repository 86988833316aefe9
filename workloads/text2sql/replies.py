"""What is read from a model's answers. A model may write anything: what cannot be read is left out, never an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"```(?:sql)?\s*(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][\w-]*")
_LITTLE_WORDS = (
    "a all an and any are as at by did do does each every for from has have how in is it its list many most much name "
    "names never number of on or that the their there they to total was were what which who with"
)
_STOP_WORDS = frozenset(_LITTLE_WORDS.split())


def sql_of(text: str) -> str:
    """The first statement of an answer: of its code block, if there is one, else from SELECT or WITH on."""
    fence = _FENCE.search(text)
    body = fence[1] if fence else text
    start = re.search(r"\b(select|with)\b", body, re.IGNORECASE)
    statement = body[start.start() if start else 0 :].partition(";")[0]
    return " ".join(statement.partition("\n\n")[0].split())


def words_of(text: str, limit: int) -> list[str]:
    """Keywords: at most `limit` different words that mean something."""
    found: dict[str, None] = {}
    for word in _WORD.findall(text):
        if word.lower() not in _STOP_WORDS and len(word) > 2:
            found.setdefault(word)
    return list(found)[:limit]


def lines_of(text: str, limit: int) -> list[str]:
    """At most `limit` lines that say something, without bullets and numbers before them."""
    return list(_lines(text))[:limit]


def number_of(text: str, high: int) -> int | None:
    """The first number from 1 to `high`."""
    return next((number for number in map(int, re.findall(r"\d{1,9}", text)) if 1 <= number <= high), None)


def passed(text: str, candidates: int) -> set[int]:
    """The candidates, from 1, that an evaluation says have passed."""
    return {number for number in map(int, re.findall(r"\d{1,9}", text)) if 1 <= number <= candidates}


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", line).strip()
        if words:
            yield words
