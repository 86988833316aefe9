"""The page of a comparison: its table, the distribution of latencies, and a timeline of stages for each side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from agentserve.text2sql.figures import answered, figures, ratio
from scheduler.types import Seconds
from simulator.report.axis import Axis, time_axis
from simulator.report.chart import Bar, BarRow, Curve, bars, curve_styles, curves, distribution, legend
from simulator.report.document import document, note, table
from workloads.text2sql.load import Played
from workloads.text2sql.prompts import Stage

STYLES = {f"s{number}": str(stage) for number, stage in enumerate(Stage)}
"""A colour a stage."""
_STYLE_OF = {stage: style for style, stage in STYLES.items()}

TITLE = "Text-to-SQL on two engines of unequal speed"


def render(arms: Mapping[str, Sequence[Played]], slo: Seconds, subtitle: str, *, emulated: bool) -> str:
    """The whole page as HTML."""
    warning = (
        '<p class="warning">This ran on <b>emulated</b> engines: their times are modelled and their text is filler.</p>'
    )
    head = [note(subtitle), warning if emulated else "", _table(arms, slo)]
    return document(TITLE, [*head, *_latencies(arms, slo), *_timelines(arms, slo)])


def _table(arms: Mapping[str, Sequence[Played]], slo: Seconds) -> str:
    lines = [
        [escape(row[0].name.strip()), *(str(figure) for figure in row), ratio(row[0], row[-1])]
        for row in zip(*(figures(played, slo) for played in arms.values()), strict=True)
    ]
    return table(["", *map(escape, arms), "ratio"], lines)


def _latencies(arms: Mapping[str, Sequence[Played]], slo: Seconds) -> Iterable[str]:
    times = {name: sorted(each.latency for each in answered(played)) for name, played in arms.items()}
    found = [Curve(name, list(distribution(own))) for name, own in times.items() if own]
    longest = max((own[-1] for own in times.values() if own), default=slo)
    caption = f"Share of the answered questions that were answered within so many seconds; the SLO is {slo:.0f} s."
    yield "<h2>Latency</h2>"
    yield legend(curve_styles(curve.name for curve in found))
    yield curves(found, time_axis(max(longest, slo)), Axis(0, 100, " %"), 220, "Distribution of latencies", caption)


def _timelines(arms: Mapping[str, Sequence[Played]], slo: Seconds) -> Iterable[str]:
    yield "<h2>Timelines</h2>"
    yield note(
        "A row a question, in order of arrival; both sides on the same scale. Each call is coloured by its stage; what is "
        "between two calls is the database's time. Where calls run side by side, the later stage's colour is seen."
    )
    yield legend(STYLES)
    axis = time_axis(max((each.ended for played in arms.values() for each in played), default=1.0))
    for name, played in arms.items():
        yield f"<h3>{escape(name)}</h3>"
        rows = [_row(each, rank, slo) for rank, each in enumerate(played, 1)]
        yield bars(rows, STYLES, axis, 500, f"Stages of the questions, {name}", "")


def _row(played: Played, rank: int, slo: Seconds) -> BarRow:
    late = " late" if played.error or played.latency > slo else ""
    found = [
        Bar(
            call.began, call.ended, _STYLE_OF[call.stage], f"engine {call.engine}, {call.prompt} + {call.output} tokens"
        )
        for call in played.calls
    ]
    return BarRow(f"question {played.question}{late}", f"{rank}{late}", found)
