"""Kills and cuts what a cell is made of, again and again under load, and says what became of the programs.

    python -m tests.benchmarks.chaos [--scenario kill] [--times 20] [--programs 200] [--seed 1] [--json FILE]

Real processes: a Redis server, four emulated engines, three gateways. Each program makes streamed calls of some two
seconds, with pauses, through gateways chosen at random; a call whose gateway or engine was killed is made again, as an
agent's client does. It ends with code 1 if anything was wrong: a program lost; a stream through a living gateway that
broke; a request that two engines got, or that was answered twice; a new decision that took longer than three seconds;
an engine that obeyed an older brain after a later one; tokens charged twice; or a brain in the store that, at the end,
still holds anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from agentserve.commands.common import out
from tests.benchmarks.chaos.checks import TENANTS
from tests.benchmarks.chaos.play import Plan, Scenario, play
from tests.benchmarks.chaos.tally import Tally
from tests.cell.cluster import cluster


def main() -> int:
    """Returns the exit code."""
    usual = Plan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", type=Scenario, default=usual.scenario, choices=list(Scenario))
    parser.add_argument("--times", type=int, default=usual.times)
    parser.add_argument("--programs", type=int, default=usual.programs)
    parser.add_argument("--gap", type=float, default=usual.gap, help="mean seconds between two calls of a program")
    parser.add_argument("--away", type=float, default=usual.away, help="seconds that the store is away")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lease", type=float, default=1.5, help="seconds (`store.lease`)")
    parser.add_argument("--keep", type=Path, help="an empty folder for logs and diaries, which are thrown away without")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plan = Plan(options.scenario, options.times, options.programs, options.gap, options.away)
    tally = Tally(options.scenario, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        kept = options.keep or Path(folder)
        with cluster(kept, cables=plan.scenario is Scenario.CUT, lease=options.lease, tenants=TENANTS) as found:
            asyncio.run(play(found, tally, plan))
    summary = tally.summary()
    out.print_json(json.dumps(summary))
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
