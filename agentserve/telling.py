"""A call's story, read from an event log by a process that loads nothing else: `python -m agentserve.telling LOG CALL`.

The gateway asks for stories this way, because a long log takes a while to be replayed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from scheduler.log import LogError
from scheduler.story import Moment, UnknownCallError, tell
from scheduler.types import CallId


class StoryError(Exception):
    """There is no story. The message says why and what to do."""


def moments(log: Path, call: str) -> list[Moment]:
    """The story of a call.

    Raises:
        StoryError: the log cannot be read, or has no such call.
    """
    try:
        with log.open(encoding="utf-8") as lines:
            whole = (line for line in lines if line.endswith("\n"))  # a gateway that runs may be writing the last one
            return tell(whole, CallId(call))
    except (OSError, UnicodeDecodeError, LogError) as error:
        raise StoryError(f"{log} cannot be read: {error}") from error
    except UnknownCallError as error:
        raise StoryError(str(error)) from error


def as_json(call: str, story: list[Moment]) -> str:
    """The story for machines."""
    return json.dumps({"call": call, "moments": [asdict(moment) for moment in story]}, indent=2)


def main(log: str, call: str) -> int:
    """Prints the story; with code 2, why there is none."""
    try:
        story = moments(Path(log), call)
    except StoryError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(as_json(call, story))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
