"""The figures of a simulation, and how they are called and written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean

from scheduler.events import PinOutcome
from scheduler.types import Seconds
from simulator.result import Simulation
from workloads.records import percentile


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one simulation. Completion times and slowdowns are of programs without a parent.

    A slowdown is a completion time divided by that of the same program with the fleet to itself. Waits are in the
    scheduler's line; the TTFT counts from a call's arrival at the gateway. None where there is nothing to count.
    """

    programs: int
    calls: int
    mean_completion: Seconds
    p50_completion: Seconds
    p95_completion: Seconds
    p99_completion: Seconds
    max_completion: Seconds
    mean_slowdown: float | None
    p95_slowdown: float | None
    in_time: float | None
    """The share of programs, of those with a deadline, that ended before it."""
    first_wait: Seconds | None
    later_wait: Seconds | None
    first_ttft: Seconds | None
    later_ttft: Seconds | None
    p95_ttft: Seconds
    cached_share: float
    output_tokens_per_s: float
    programs_per_s: float
    preemptions: int
    pins_applied: int
    pins_hit: int
    pins_expired: int
    pins_broken: int
    makespan: Seconds


def summarise(simulation: Simulation) -> Summary:
    """Computes the figures.

    Raises:
        ValueError: the simulation has no programs.
    """
    programs, waits, pins = simulation.programs, simulation.waits, simulation.pins
    if not programs:
        raise ValueError("a simulation without programs has no figures")
    roots = [program for program in programs if program.parent is None] or programs
    times = [program.completion for program in roots]
    slowdowns = [program.completion / simulation.alone[program.program] for program in roots if simulation.alone]
    return Summary(
        programs=len(programs),
        calls=sum(program.calls for program in programs),
        mean_completion=fmean(times),
        p50_completion=percentile(times, 0.5),
        p95_completion=percentile(times, 0.95),
        p99_completion=percentile(times, 0.99),
        max_completion=max(times),
        mean_slowdown=_mean(slowdowns),
        p95_slowdown=percentile(slowdowns, 0.95) if slowdowns else None,
        in_time=_mean([program.in_time for program in roots if program.in_time is not None]),
        first_wait=_mean(waits.first_held),
        later_wait=_mean(waits.later_held),
        first_ttft=_mean(waits.first_ttft),
        later_ttft=_mean(waits.later_ttft),
        p95_ttft=percentile(waits.first_ttft + waits.later_ttft, 0.95),
        cached_share=sum(program.cached for program in programs) / sum(program.prompt for program in programs),
        output_tokens_per_s=sum(program.output for program in programs) / simulation.makespan,
        programs_per_s=len(programs) / simulation.makespan,
        preemptions=simulation.preemptions,
        pins_applied=pins[PinOutcome.APPLIED],
        pins_hit=pins[PinOutcome.HIT],
        pins_expired=pins[PinOutcome.EXPIRED],
        pins_broken=pins[PinOutcome.BROKEN],
        makespan=simulation.makespan,
    )


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: what a record of figures (here a `Summary`) calls it, and what people do."""

    name: str
    title: str
    format: str = "{:,.1f}"

    def of(self, record: object) -> float | None:
        """Its value."""
        value: Callable[[object], float | None] = attrgetter(self.name)
        return value(record)

    def mean(self, records: Iterable[object]) -> float | None:
        """Its mean over repetitions, None if one of them has none."""
        values = [self.of(record) for record in records]
        present = [value for value in values if value is not None]
        return fmean(present) if len(present) == len(values) else None

    def write(self, value: float | None) -> str:
        """A value for people."""
        return "–" if value is None else self.format.format(value)


FIGURES: Sequence[Figure] = (
    Figure("mean_completion", "program completion, mean (s)"),
    Figure("p50_completion", "program completion, P50 (s)"),
    Figure("p95_completion", "program completion, P95 (s)"),
    Figure("p99_completion", "program completion, P99 (s)"),
    Figure("max_completion", "program completion, max (s)"),
    Figure("mean_slowdown", "slowdown against running alone, mean", "{:.2f}"),
    Figure("p95_slowdown", "slowdown against running alone, P95", "{:.2f}"),
    Figure("in_time", "programs that end before their deadline", "{:.1%}"),
    Figure("first_wait", "first calls: wait in line, mean (s)", "{:,.2f}"),
    Figure("later_wait", "later calls: wait in line, mean (s)", "{:,.2f}"),
    Figure("first_ttft", "first calls: time to first token, mean (s)", "{:,.2f}"),
    Figure("later_ttft", "later calls: time to first token, mean (s)", "{:,.2f}"),
    Figure("p95_ttft", "time to first token, P95 (s)", "{:,.2f}"),
    Figure("cached_share", "cached share of prompt tokens", "{:.1%}"),
    Figure("output_tokens_per_s", "output tokens per second"),
    Figure("programs_per_s", "programs per second", "{:.3f}"),
    Figure("preemptions", "preemptions", "{:,.0f}"),
    Figure("pins_applied", "pins", "{:,.0f}"),
    Figure("pins_hit", "pins that served", "{:,.0f}"),
    Figure("pins_expired", "pins that expired", "{:,.0f}"),
    Figure("pins_broken", "pins that broke", "{:,.0f}"),
)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
