"""Reading vLLM's log for people: what it is doing, and why it ended."""

from __future__ import annotations

import re
from collections.abc import Sequence

LINE_LIMIT = 500
"""Characters of a line that are shown; vLLM logs its whole configuration in one."""

TAIL = 10
"""Last lines that are shown where no line names an error."""

AFTER = 4
"""Lines that are shown after the last error: its message may go on there."""

_PREFIX = re.compile(r"^(\([^)]* pid=\d+\) )?([A-Z]+ \d\d-\d\d [\d:]+ \[[^]]*\] )?")
_ERROR = re.compile(r"^([\w.]*(Error|Exception)|.*: error): ")


def latest(lines: Sequence[str]) -> str:
    """The last line, short; empty if there is none."""
    return _plain(lines[-1])[:100].strip() if lines else ""


def ending(lines: Sequence[str]) -> list[str]:
    """The lines that say why the process has ended, the root cause first; else the last ones.

    vLLM's processes fail one after the other, so that the end of the log tells only that another one has failed.
    """
    plain = [_plain(line)[:LINE_LIMIT] for line in lines]
    errors = [number for number, line in enumerate(plain) if _ERROR.match(line)]
    if not errors:
        return plain[-TAIL:]
    told = [plain[number] for number in errors] + plain[errors[-1] + 1 :][:AFTER]
    return list(dict.fromkeys(told))


def _plain(line: str) -> str:
    return _PREFIX.sub("", line)
