"""One run: load, what is done to the cell meanwhile, and the checks."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from tests.benchmarks.chaos import cuts, outages
from tests.benchmarks.chaos.checks import check
from tests.benchmarks.chaos.cuts import cut
from tests.benchmarks.chaos.kills import kill
from tests.benchmarks.chaos.load import Load
from tests.benchmarks.chaos.losses import check_losses, lose
from tests.benchmarks.chaos.outages import outage
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import Cluster


class Scenario(StrEnum):
    """What is done."""

    KILL = "kill"
    """The gateway with the brain is killed."""
    OUTAGE = "outage"
    """The store is stopped, killed, and wiped, in turn."""
    CUT = "cut"
    """Gateways are cut off from the store, and the leader stands still."""
    ENGINE = "engine"
    """An engine is killed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. Times in seconds."""

    scenario: Scenario = Scenario.KILL
    times: int = 20
    programs: int = 200
    gap: float = 20.0
    """The mean between two calls of a program."""
    away: float = 20.0
    """How long the store is."""
    most: float = 3.0
    """From a kill to a new decision."""
    kinds: tuple[str, ...] = ()
    """Of outages or cuts, in turn; all of them if there are none."""


async def play(found: Cluster, tally: Tally, plan: Plan) -> None:
    """The whole run."""
    rng = random.Random(tally.seed + 1)
    load = Load(found, tally, plan.gap)
    loading = asyncio.create_task(load.run(plan.programs))
    every = plan.kinds or (cuts.KINDS if plan.scenario is Scenario.CUT else outages.KINDS)
    for kind in islice(cycle(every), plan.times):
        if loading.done():
            break
        match plan.scenario:
            case Scenario.KILL:
                await kill(found, load, tally, rng)
            case Scenario.OUTAGE:
                await outage(found, load, tally, rng, plan.away, kind)
            case Scenario.CUT:
                await cut(found, load, tally, rng, kind)
            case Scenario.ENGINE:
                await lose(found, load, tally, rng)
    await asyncio.to_thread(found.settle)
    load.stopping = True
    await loading
    await check(found, load, tally)
    if plan.scenario is Scenario.ENGINE:
        check_losses(found, load, tally)
    else:
        tally.wrong += [f"{each.program}: {each.error}" for each in load.attempts if each.error]
    slow = [took for took in tally.recovery_s if took > plan.most]
    if slow:
        tally.wrong.append(f"{len(slow)} of {plan.times} took over {plan.most:g} s: {slow}")
