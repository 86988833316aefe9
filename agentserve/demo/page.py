"""The page of a comparison: its table and a timeline for each side, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from agentserve.demo.outcome import PIN_OUTCOMES, ArmOutcome, figures
from simulator.report.axis import time_axis
from simulator.report.chart import bars, legend
from simulator.report.document import document, note, table
from simulator.report.timeline import PHASES, bar_row, prefill_rate, rows
from simulator.result import CallResult
from workloads.records import CallRecord


def render(outcomes: Sequence[ArmOutcome], title: str, subtitle: str, *, emulated: bool) -> str:
    """The whole page as HTML."""
    warning = (
        '<p class="warning">This ran on the <b>emulated</b> engine: its times are modelled and its text is filler.</p>'
    )
    explanation = note(
        "A row a program, in order of arrival; both sides on the same scale. A call's time to first token is split "
        "into waiting and prefill by the engine's best prefill rate; whether a gap's KV was retained shows in how much "
        "of the next prompt was cached."
    )
    head = [note(subtitle), warning if emulated else "", _table(outcomes)]
    return document(title, [*head, "<h2>Timelines</h2>", explanation, legend(PHASES), *_timelines(outcomes)])


def _table(outcomes: Sequence[ArmOutcome]) -> str:
    lines = [
        [escape(columns[0][0].strip()), *(_number(value) for _, value in columns)]
        for columns in zip(*(figures(outcome) for outcome in outcomes), strict=True)
    ]
    pins = [
        [f"pins {word}", *(str(outcome.pins.get(name, 0)) if outcome.pins else "-" for outcome in outcomes)]
        for name, word in PIN_OUTCOMES.items()
    ]
    return table(["", *(escape(outcome.name) for outcome in outcomes)], [*lines, *pins])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _timelines(outcomes: Sequence[ArmOutcome]) -> Iterable[str]:
    sides = {outcome.name: list(_answered(outcome.records)) for outcome in outcomes}
    whole = [call for calls in sides.values() for call in calls]
    axis = time_axis(max((call.finished for call in whole), default=1.0))
    rates = dict.fromkeys({call.engine for call in whole}, prefill_rate(whole))  # it is the same engine on both sides
    for name, calls in sides.items():
        found = [bar_row(row, rank) for rank, row in enumerate(rows(calls, rates), 1)]
        yield f"<h3>{escape(name)}</h3>"
        yield bars(found, PHASES, axis, 600, f"Timeline of the programs, {name}", "")


def _answered(records: Iterable[CallRecord]) -> Iterable[CallResult]:
    for record in records:
        if record.scheduled_s is not None and record.finish_s is not None:
            yield CallResult(
                program=record.program,
                call=record.call,
                turn=record.turn,
                stage=record.stage,
                engine=record.engine or "",
                arrived=record.scheduled_s,
                dispatched=record.sent_s or record.scheduled_s,
                first_token=record.finish_s if record.first_token_s is None else record.first_token_s,
                finished=record.finish_s,
                prompt=record.prompt_tokens or 0,
                cached=record.cached_tokens or 0,
                output=record.output_tokens or 0,
            )
