"""The page of a comparison: its table and a timeline for each side, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from agentserve.demo.outcome import PIN_OUTCOMES, ArmOutcome, figures
from agentserve.demo.timeline import Phase, Row, rows

WIDTH = 1080
LABEL = 40
ROW = 20
COLOURS = {
    Phase.WAITING: "#d9534f",
    Phase.PREFILL: "#e8a33d",
    Phase.DECODE: "#3f7fbf",
    Phase.RETAINED: "#7fbf8f",
    Phase.GAP: "#c9ccd1",
}
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #22262b; background: #fff; max-width: 1120px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p.note { color: #5a6068; margin-top: 0; }
p.emulated { background: #fff3cd; border: 1px solid #e0c36a; padding: .5rem .8rem; border-radius: 4px; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem .2rem 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } th { border-bottom: 1px solid #aab; font-weight: 600; }
.legend span { display: inline-block; margin-right: 1.2rem; }
.legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .35rem; vertical-align: -.1rem; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #5a6068; }
"""


def render(outcomes: Sequence[ArmOutcome], title: str, note: str, *, emulated: bool) -> str:
    """The whole page as HTML."""
    charts = [(outcome.name, rows(outcome.records)) for outcome in outcomes]
    end = max((row.spans[-1].end for _, chart in charts for row in chart), default=1.0)
    warning = (
        '<p class="emulated">This ran on the <b>emulated</b> engine: its times are modelled and its text is filler.</p>'
        if emulated
        else ""
    )
    timelines = "".join(f"<h2>{escape(name)}</h2>{_chart(chart, end)}" for name, chart in charts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<h1>{escape(title)}</h1><p class="note">{escape(note)}</p>{warning}{_table(outcomes)}'
        f'<h2>Timelines</h2><p class="note">A row a program, in order of arrival; both sides on the same scale. '
        f"A call's time to first token is split into waiting and prefill by the engine's best prefill rate; whether a "
        f"gap's KV was retained shows in how much of the next prompt was cached.</p>{_legend()}{timelines}</html>\n"
    )


def _table(outcomes: Sequence[ArmOutcome]) -> str:
    names = "".join(f"<th>{escape(outcome.name)}</th>" for outcome in outcomes)
    lines = [
        f"<tr><td>{escape(columns[0][0].strip())}</td>{''.join(f'<td>{_number(value)}</td>' for _, value in columns)}</tr>"
        for columns in zip(*(figures(outcome) for outcome in outcomes), strict=True)
    ]
    for outcome_name, word in PIN_OUTCOMES.items():
        cells = "".join(
            f"<td>{outcome.pins.get(outcome_name, 0) if outcome.pins else '-'}</td>" for outcome in outcomes
        )
        lines.append(f"<tr><td>pins {word}</td>{cells}</tr>")
    return f"<table><tr><th></th>{names}</tr>{''.join(lines)}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _legend() -> str:
    items = "".join(f'<span><i style="background:{COLOURS[phase]}"></i>{escape(phase.value)}</span>' for phase in Phase)
    return f'<p class="legend">{items}</p>'


def _chart(chart: Sequence[Row], end: float) -> str:
    scale = (WIDTH - LABEL) / end
    height = len(chart) * ROW + 24
    parts = [_axis(end, scale, height)]
    for index, row in enumerate(chart):
        top = index * ROW
        parts.append(f'<text x="0" y="{top + 14}">{index + 1}</text>')
        for span in row.spans:
            width = max((span.end - span.start) * scale, 0.3)
            tip = escape(f"{span.phase.value}, {span.end - span.start:.2f} s; {span.detail}")
            parts.append(
                f'<rect x="{LABEL + span.start * scale:.1f}" y="{top + 3}" width="{width:.1f}" height="{ROW - 6}" '
                f'fill="{COLOURS[span.phase]}"><title>{tip}</title></rect>'
            )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _axis(end: float, scale: float, height: int) -> str:
    step = next((step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if end / step <= 12), 1000)
    marks = []
    for second in range(0, int(end) + 1, step):
        x = LABEL + second * scale
        marks.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 18}" stroke="#e7e9ec"/>')
        marks.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle">{second} s</text>')
    return "".join(marks)
