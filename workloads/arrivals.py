"""When programs arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from workloads.program import Program, Seconds, WorkloadError


def poisson(programs: Iterable[Program], rate_per_s: float, seed: int) -> list[Program]:
    """All of `poisson_arrivals`."""
    return list(poisson_arrivals(programs, rate_per_s, seed))


def poisson_arrivals(programs: Iterable[Program], rate_per_s: float, seed: int) -> Iterator[Program]:
    """Gives the programs, in their order, the arrivals of a Poisson process that starts with the first one at 0.

    A program with a parent arrives with it (its first call then waits for its edges). The same seed at another rate
    stretches the same arrivals.

    Raises:
        WorkloadError: the rate is not positive, or a child comes before its parent.
    """
    if not rate_per_s > 0:
        raise WorkloadError(f"rate_per_s must be above 0, not {rate_per_s!r}")
    rng = Random(f"arrivals/{seed}")
    arrivals: dict[str, Seconds] = {}
    now = 0.0
    for program in programs:
        if program.parent is None:
            arrivals[program.id] = now
            now += rng.expovariate(1.0) / rate_per_s
        elif program.parent in arrivals:
            arrivals[program.id] = arrivals[program.parent]
        else:
            raise WorkloadError(f"program {program.id!r} comes before its parent {program.parent!r}")
        yield replace(program, arrival_s=arrivals[program.id])
