"""Smokes of `make chaos`: real processes, a real Redis server, and one stroke of each kind under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.chaos.checks import TENANTS
from tests.benchmarks.chaos.play import Plan, Scenario, play
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import cluster

PATIENT = 120.0
"""Seconds for a decision: how soon one comes is what `make chaos` is for, on a machine with little else to do."""


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        (Scenario.KILL, ""),
        (Scenario.OUTAGE, "stopped"),
        (Scenario.OUTAGE, "wiped"),
        (Scenario.CUT, "silent"),
        (Scenario.ENGINE, ""),
    ],
)
async def test_no_program_is_lost_and_no_call_counts_twice(tmp_path: Path, scenario: Scenario, kind: str) -> None:
    tally = Tally(scenario, seed=1)
    plan = Plan(scenario, times=1, programs=12, gap=1.0, away=3.0, most=PATIENT, kinds=(kind,))
    with cluster(tmp_path, gateways=2, engines=2, cables=scenario is Scenario.CUT, tenants=TENANTS) as found:
        await play(found, tally, plan)
    assert not tally.wrong
    assert len(tally.done) == 1
    assert tally.under_way[0] > 0
    assert tally.programs >= 12
