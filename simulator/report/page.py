"""The page of a comparison: its figures, how long programs took, and what went on inside, preset by preset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from simulator.report.axis import Axis, spread_axis
from simulator.report.chart import MAX_STEPS, Curve, curve_styles, curves, distribution, legend
from simulator.report.course import Clock, Frame, sampled, sections
from simulator.report.document import document, note, switch
from simulator.report.figures import figures
from simulator.result import EngineResult, Simulation
from simulator.whole import write_whole

HEIGHT = 260


def write_html(simulations: Sequence[Simulation], path: Path) -> None:
    """Writes a page that compares simulations of the same programs on the same engines.

    Several simulations of one policy are repetitions with other seeds: their completion times are pooled, and the
    first one's course is shown. Timelines need simulations that kept their calls, and the engines' charts samples.

    Raises:
        ValueError: there is no simulation.
        OSError: it cannot be written there; what was at the path before is untouched.
    """
    if not simulations:
        raise ValueError("there is no simulation to show")
    write_whole(path, [document("Simulated agent programs", _body(simulations))])


def _body(simulations: Sequence[Simulation]) -> Iterator[str]:
    presets: dict[str, list[Simulation]] = {}
    for simulation in simulations:
        presets.setdefault(simulation.policy, []).append(simulation)
    shown = [runs[0] for runs in presets.values()]
    yield note(_subject(simulations))
    yield from ("<h2>Figures</h2>", *figures(simulations))
    yield from ("<h2>Completion times</h2>", _completions(presets))
    if any(simulation.calls or sampled(simulation) for simulation in shown):
        yield (
            '<div class="switches">'
            + switch("preset", "Preset", {str(index): name for index, name in enumerate(presets)})
            + switch("clock", "Programs' time since", {clock.name: clock.value for clock in Clock})
            + "</div>"
        )
        frame = Frame.of(shown)
        for index, simulation in enumerate(shown):
            course = "".join(sections(simulation, frame))
            yield f'<section data-preset="{index}"><h2>{escape(simulation.policy)}</h2>{course}</section>'


def _subject(simulations: Sequence[Simulation]) -> str:
    first = simulations[0]
    seeds = sorted({simulation.seed for simulation in simulations})
    kinds = groupby(first.engines, key=_kind)
    engines = ", ".join(f"{len(list(same))} × {kind}" for kind, same in kinds)
    calls = sum(program.calls for program in first.programs)
    seeding = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, of which timelines show {first.seed}"
    return f"{len(first.programs):,} programs of {calls:,} calls on {engines}; {seeding}."


def _kind(engine: EngineResult) -> str:
    how = " (modelled from data sheets, not measured)" if engine.modelled else ""
    return f"{engine.hardware}{how} with {engine.kv_tokens:,} tokens of KV"


def _completions(presets: dict[str, list[Simulation]]) -> str:
    samples = {
        name: sorted(program.completion for run in runs for program in run.programs if program.parent is None)
        for name, runs in presets.items()
    }
    low, high = (choose(choose(times) for times in samples.values()) for choose in (min, max))
    found = [Curve(name, list(distribution(times))) for name, times in samples.items()]
    caption = (
        f"Share of programs that were complete within so many seconds of their arrival; sub-agents count as part of "
        f"their parents. A curve has at most {MAX_STEPS} steps."
    )
    chart = curves(
        found, spread_axis(low, high), Axis(0, 100, " %"), HEIGHT, "Distribution of completion times", caption
    )
    return legend(curve_styles(presets)) + chart
