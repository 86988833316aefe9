"""What strangers send, for as long as is asked: nothing may break, hang, or be answered otherwise than is documented.

    python -m tests.benchmarks.fuzz [--seconds 600] [--part api]

Each part runs for that long. `api`: schemathesis over the OpenAPI document of a gateway process that asks for keys, in
front of an emulated engine, with an admin's key. The others are the properties of tests/gateway/test_fuzz.py, with a new
seed every hundred examples: `splicer` (bodies), `scanner` (streams) and `identity` (whose a request is). It ends with
code 1 if something was found, which is then on standard error.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from tests.gateway import test_fuzz
from tests.gateway.served import schemathesis, served

ROUND = 100
"""Examples between two looks at the clock."""
PROPERTIES: dict[str, tuple[Callable[[], None], ...]] = {
    "splicer": (
        test_fuzz.test_an_edit_changes_what_it_names_and_nothing_else,
        test_fuzz.test_a_damaged_body_is_read_as_json_reads_it_or_refused,
    ),
    "scanner": (test_fuzz.test_a_stream_is_read_the_same_however_it_is_cut_or_refused,),
    "identity": (test_fuzz.test_any_request_is_identified_within_bounds_or_refused,),
}
PARTS = ("api", *PROPERTIES)


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one part."""

    name: str
    seconds: float
    examples: int
    failure: str
    """Empty if nothing was found."""


def api(seconds: float) -> Part:
    """Schemathesis for so long."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as gateway:
        found = schemathesis(gateway, Path(folder), "--max-time", str(int(seconds)), "--continue-on-failure")
        failure = "" if found.code == 0 and found.cases else found.said
        if gateway.process.poll() is not None:
            failure += f"\nthe gateway ended with code {gateway.process.returncode}"
        if gateway.tracebacks:
            failure += f"\nthe gateway logged what nobody had thought of:\n{gateway.log.read_text(errors='replace')}"
        return Part("api", time.monotonic() - begun, found.cases, failure)


def properties(name: str, tests: Sequence[Callable[[], None]], seconds: float) -> Part:
    """Tries each property in turn for so long, or until one fails."""
    begun, tried = time.monotonic(), 0
    rounds = [_endless(test) for test in tests]
    while time.monotonic() - begun < seconds:
        for again in rounds:
            try:
                again()
            except Exception:
                return Part(name, time.monotonic() - begun, tried, traceback.format_exc())
            tried += ROUND
    return Part(name, time.monotonic() - begun, tried, "")


def _endless(test: Callable[[], None]) -> Callable[[], None]:
    """A property that tries other examples each time."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    again: Any = settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=health)(test)
    return again  # type: ignore[no-any-return]


def run(name: str, seconds: float) -> Part:
    return api(seconds) if name == "api" else properties(name, PROPERTIES[name], seconds)


def table(parts: Sequence[Part]) -> str:
    """The parts, as Markdown."""
    rows = [f"| {part.name} | {part.seconds:.0f} | {part.examples:,} | {_found(part)} |" for part in parts]
    return "\n".join(["| part | seconds | examples | found |", "|---|---:|---:|---|", *rows, ""])


def _found(part: Part) -> str:
    return "a failure" if part.failure else "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--part", choices=PARTS, action="append", help="All without.")
    options = parser.parse_args()
    parts: list[Part] = []
    for name in options.part or PARTS:
        parts.append(run(name, options.seconds))
        sys.stderr.write(parts[-1].failure)
        sys.stdout.write(table(parts[-1:]))
        sys.stdout.flush()
    return 1 if any(part.failure for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
