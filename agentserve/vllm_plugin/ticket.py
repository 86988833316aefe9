"""What a request says about its program: the keys of `vllm_xargs` that the plugin reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

PROGRAM = "agentserve_program"
RANK = "agentserve_rank"
TTL = "agentserve_ttl"
TAIL = "agentserve_score_tail"

MAX_PROGRAM_BYTES = 600
MAX_TTL = 86_400.0
MAX_TAIL = 2**24
YOUNGEST = math.inf


class BadValueError(ValueError):
    """A program, rank, time-to-live or tail that cannot be used. The message says which and why."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call's program, the program's rank by first arrival (smaller is older), and the seconds to keep its KV."""

    program: str
    rank: float
    ttl: float


def parse_ticket(extra: Mapping[str, object]) -> Ticket | None:
    """Reads a request's extra arguments; None if they name no program. Without a rank the program is the youngest.

    Raises:
        BadValueError: a value has the wrong type or is out of range.
    """
    if PROGRAM not in extra:
        return None
    return Ticket(parse_program(extra[PROGRAM]), _parse_rank(extra.get(RANK, YOUNGEST)), parse_ttl(extra.get(TTL, 0)))


def parse_tail(extra: Mapping[str, object]) -> int | None:
    """How many of a prompt's last tokens are to be scored with the prefix cache on; None if that is not asked for.

    Raises:
        BadValueError: it is no whole number from 1 to 2**24.
    """
    tail = extra.get(TAIL)
    if tail is None:
        return None
    if isinstance(tail, bool) or not isinstance(tail, int) or not 1 <= tail <= MAX_TAIL:
        raise BadValueError(f"a tail to score must have 1 to {MAX_TAIL} tokens")
    return tail


def parse_program(value: object) -> str:
    """A program's name: 1 to 600 bytes of UTF-8.

    Raises:
        BadValueError: it is not.
    """
    if not isinstance(value, str):
        raise BadValueError(f"a program must be a string, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise BadValueError("a program must be valid Unicode") from error
    if not 0 < size <= MAX_PROGRAM_BYTES:
        raise BadValueError(f"a program must have 1 to {MAX_PROGRAM_BYTES} bytes, not {size}")
    return value


def parse_ttl(value: object) -> float:
    """A time-to-live: 0 to 86,400 seconds.

    Raises:
        BadValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadValueError(f"a ttl must be a number of seconds, not {type(value).__name__}")
    if not 0 <= value <= MAX_TTL:
        raise BadValueError(f"a ttl must be from 0 to {MAX_TTL:g} seconds")
    return float(value)


def _parse_rank(value: object) -> float:
    if value == YOUNGEST:
        return YOUNGEST
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise BadValueError("a rank must be a whole number from 0 to 2**53 - 1")
    return float(value)
