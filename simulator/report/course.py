"""The course of one simulation: what each program did when, what filled the engines' memory, and who waited."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from itertools import pairwise
from typing import TypeVar

from scheduler.types import Seconds, Tokens
from simulator.report.axis import Axis, time_axis
from simulator.report.chart import Area, Bar, BarRow, Curve, Point, areas, bars, curve_styles, curves, legend
from simulator.report.document import note
from simulator.report.timeline import PHASES, Phase, bar_row, prefill_rates, rows
from simulator.result import EngineResult, EngineSample, Holding, Simulation
from workloads.records import percentile

MAX_PROGRAMS = 200
"""Rows of a timeline: of more programs, as many at even distances in the order of arrival."""
MAX_DETAILED = 20
"""With more programs than this, a timeline tells the phase but not the call."""
MAX_HOLDERS = 80
"""Rows of an engine's memory by program, chosen in the same way."""
MAX_ENGINES = 8
"""Engines of a fleet that are shown: the first ones."""
TIMELINE_HEIGHT, MEMORY_HEIGHT, HOLDERS_HEIGHT, QUEUE_HEIGHT = 600, 140, 240, 140
LEVELS = ("faint", "light", "medium", "full")
"""Styles of what a program holds, each for one more quarter of the most that any program held on its engine."""
MEMORY = {Phase.DECODE.style: "running", Phase.RETAINED.style: "retained"}

T = TypeVar("T")


class Clock(StrEnum):
    """From when a timeline counts its time."""

    START = "the start"
    ARRIVAL = "each program's arrival"


@dataclass(frozen=True, slots=True)
class Frame:
    """What the courses of several simulations share, so that they compare: programs, and the ends of the axes."""

    ranks: dict[str, int]
    """Every program's place in the order of arrival, from 1."""
    time: Axis
    life: Axis
    """Time since a program's own arrival."""
    queue: Axis

    @classmethod
    def of(cls, simulations: Sequence[Simulation]) -> Frame:
        """The frame of simulations of the same programs, of which there is one at least."""
        arrived = sorted(simulations[0].programs, key=lambda program: (program.arrival, program.program))
        samples = [sample for run in simulations for engine in run.engines for sample in engine.samples]
        longest = max((max(sample.held, sample.waiting) for sample in samples), default=0)
        return cls(
            ranks={program.program: rank for rank, program in enumerate(arrived, 1)},
            time=time_axis(_most([program.finished for run in simulations for program in run.programs])),
            life=time_axis(_most([program.completion for run in simulations for program in run.programs])),
            queue=Axis(0, max(longest, 4)),
        )


def _most(times: Sequence[Seconds]) -> Seconds:
    """Where an axis of these times ends: at the last one, or before it where a few are far above all others."""
    usual, last = percentile(times, 0.9), max(times)
    return last if last <= 4 * usual else 2 * usual


def sampled(simulation: Simulation) -> bool:
    """Whether there are samples of any engine."""
    return any(engine.samples for engine in simulation.engines)


def sections(simulation: Simulation, frame: Frame) -> Iterator[str]:
    """The charts of one simulation as HTML, as far as it kept what they show."""
    if simulation.calls:
        yield from _timeline(simulation, frame)
    if sampled(simulation):
        yield from _queues(simulation, frame)
        yield from _memory(simulation, frame)


def _timeline(simulation: Simulation, frame: Frame) -> Iterator[str]:
    shown = set(_spaced(list(frame.ranks), MAX_PROGRAMS))
    found = rows((call for call in simulation.calls if call.program in shown), prefill_rates(simulation.calls))
    found.sort(key=lambda row: frame.ranks[row.program])
    yield "<h3>Programs</h3>"
    yield note(
        f"{_selection(len(found), len(frame.ranks))}, a row each in the order of arrival. A call's time to first token "
        "is split into waiting and prefill by its engine's best prefill rate; whether a gap's KV was retained shows in "
        "how much of the next prompt was cached. What comes long after nine tenths of the programs is cut off."
    )
    yield legend(PHASES)
    for clock, axis, timed in (
        (Clock.START, frame.time, found),
        (Clock.ARRIVAL, frame.life, [row.since_arrival() for row in found]),
    ):
        chart = [bar_row(row, frame.ranks[row.program], detailed=len(found) <= MAX_DETAILED) for row in timed]
        label = f"What each program did when, by time since {clock.value}, under {simulation.policy}"
        yield f'<div data-clock="{clock.name}">{bars(chart, PHASES, axis, TIMELINE_HEIGHT, label, "")}</div>'


def _queues(simulation: Simulation, frame: Frame) -> Iterator[str]:
    engines = simulation.engines[:MAX_ENGINES]
    held = sorted((sample.at, sample.held) for engine in simulation.engines for sample in engine.samples)
    found = [Curve("in the scheduler's line", [Point(*item) for item in held])]
    found += [
        Curve(f"on {engine.name}", [Point(sample.at, sample.waiting) for sample in engine.samples])
        for engine in engines
        if engine.samples
    ]
    yield "<h3>Waiting calls</h3>"
    yield note(
        f"In the scheduler's line, before they have an engine, and in the queues of {_first(engines, simulation)}."
    )
    yield legend(curve_styles(curve.name for curve in found))
    label = f"Calls that wait in the scheduler's line and on each engine over time, under {simulation.policy}"
    yield curves(found, frame.time, frame.queue, QUEUE_HEIGHT, label, "")


def _memory(simulation: Simulation, frame: Frame) -> Iterator[str]:
    engines = simulation.engines[:MAX_ENGINES]
    yield "<h3>KV memory</h3>"
    yield note(
        f"Of {_first(engines, simulation)}. Above, the whole memory: what running calls use, what is retained for "
        "programs in gaps, and the rest, which is free. Below, a row for each program that held memory there, in the "
        "order of arrival; its colour is fainter where it held less than three quarters, half or a quarter of the most "
        "that one held. Prefixes that programs share count in full for each."
    )
    yield legend(MEMORY)
    yield '<div class="engines">'
    for engine in engines:
        how = ", modelled" if engine.modelled else ""
        yield f"<div><h4>{escape(engine.name)} <small>{escape(engine.hardware)}{how}</small></h4>"
        yield _classes(engine, frame)
        yield _holders(engine, frame)
        yield "</div>"
    yield "</div>"


def _classes(engine: EngineResult, frame: Frame) -> str:
    running = [Point(sample.at, sample.kv_running) for sample in engine.samples]
    both = [Point(sample.at, sample.kv_running + sample.kv_retained) for sample in engine.samples]
    found = [Area(name, style, tops) for (style, name), tops in zip(MEMORY.items(), (running, both), strict=True)]
    label = f"KV tokens on {engine.name} over time: running, retained and free"
    return areas(found, frame.time, Axis(0, engine.kv_tokens), MEMORY_HEIGHT, label, "")


def _holders(engine: EngineResult, frame: Frame) -> str:
    holdings = [holding for sample in engine.samples for holding in sample.programs]
    largest = max(map(_held, holdings), default=0)
    ordered = sorted({holding.program for holding in holdings}, key=lambda program: frame.ranks[program])
    found: dict[str, list[Bar]] = {program: [] for program in _spaced(ordered, MAX_HOLDERS)}
    for sample, following in pairwise(engine.samples):
        for holding in sample.programs:
            if holding.program in found:
                _extend(found[holding.program], sample, following, _style(holding, largest))
    chart = [BarRow(f"program {name}", f"{frame.ranks[name]:,}", own) for name, own in found.items()]
    styles = {f"{style} {level}": name for style, name in MEMORY.items() for level in LEVELS}
    caption = f"{_selection(len(chart), len(ordered))}; one held {largest:,} tokens at most."
    return bars(chart, styles, frame.time, HOLDERS_HEIGHT, f"KV tokens on {engine.name} by program", caption)


def _held(holding: Holding) -> Tokens:
    return holding.running or holding.retained


def _extend(row: list[Bar], sample: EngineSample, following: EngineSample, style: str) -> None:
    """Adds what holds between two samples, in one with what came before if that is the same."""
    start = sample.at
    if row and row[-1].end == start and row[-1].style == style:
        start = row.pop().start
    row.append(Bar(start, following.at, style))


def _style(holding: Holding, largest: Tokens) -> str:
    kind = Phase.DECODE if holding.running else Phase.RETAINED
    quarter = min(len(LEVELS) * _held(holding) // max(largest, 1), len(LEVELS) - 1)
    return f"{kind.style} {LEVELS[quarter]}"


def _spaced(items: Sequence[T], most: int) -> Sequence[T]:
    """All of them, or that many at even distances."""
    if len(items) <= most:
        return items
    return [items[number * len(items) // most] for number in range(most)]


def _selection(shown: int, of: int) -> str:
    return f"All {of:,} programs" if shown == of else f"{shown:,} of {of:,} programs, evenly chosen by arrival"


def _first(engines: Sequence[EngineResult], simulation: Simulation) -> str:
    shown, of = len(engines), len(simulation.engines)
    return "every engine" if shown == of else f"the first {shown} of {of:,} engines"
