"""The demo's comparison on the emulated engine, small enough to take seconds."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agentserve.demo import page
from agentserve.demo.arms import Arm, EngineSize, GatewayArm, StockArm
from agentserve.demo.comparison import Workload, run
from agentserve.demo.outcome import ArmOutcome, figures, pins_since
from workloads.client import ReplayEvent, ReplayStep
from workloads.program import Call, Edge, Program

SIZE = EngineSize(Path("unused"), kv_tokens=2048, block_size=32, max_model_len=1024, emulated=True)
PROGRAMS = [
    Program(
        f"p{number}",
        0.1 * number,
        (Call("0", 200, 4), Call("1", 60, 4, after=(Edge("0", 0.2, "bash"),), context="0")),
    )
    for number in range(3)
]


@pytest.fixture
async def outcomes(tmp_path: Path) -> list[ArmOutcome]:
    seen: list[ReplayEvent] = []
    found = []
    arms: list[Arm] = [StockArm(SIZE, tmp_path), GatewayArm(SIZE, tmp_path)]
    for arm in arms:
        await arm.start(lambda _: None)
        try:
            found.append(await run(arm, PROGRAMS, Workload(3), seen.append))
        finally:
            await arm.stop()
    assert sum(event.step is ReplayStep.PROGRAM_ENDED for event in seen) == 6
    return found


async def test_both_sides_run_the_same_programs_and_the_page_shows_them(outcomes: list[ArmOutcome]) -> None:
    stock, ours = outcomes
    assert [(r.program, r.call, r.prompt_tokens) for r in stock.records] == [
        (r.program, r.call, r.prompt_tokens) for r in ours.records
    ]
    assert stock.summary.calls_failed == ours.summary.calls_failed == 0
    assert not stock.pins
    assert ours.pins["applied"] == ours.pins["hit"] == 3
    assert {record.engine for record in ours.records} == {"emulated"}
    html = page.render(outcomes, "A title", "A note", emulated=True)
    assert html.count("<svg") == 2
    assert "emulated" in html
    Strict().feed(html)
    json.dumps([outcome.to_json() for outcome in outcomes])


class Strict(HTMLParser):
    """Fails on a tag that is closed without having been opened, and on a reference to anything outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & dict(attrs).keys(), f"<{tag}> refers to something outside"
        if tag not in ("meta", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def test_a_table_has_a_figure_for_every_row_even_if_nothing_was_answered() -> None:
    empty = ArmOutcome("none", [], {})
    assert len(figures(empty)) == len({name for name, _ in figures(empty)})


def test_pins_of_a_replay_are_what_was_added() -> None:
    assert pins_since({"applied": 3}, {"applied": 5, "hit": 1}) == {"applied": 2, "hit": 1}
