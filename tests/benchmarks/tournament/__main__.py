"""The tournament of all presets in the simulator.

    python -m tests.benchmarks.tournament --traces FOLDER               (the covering; goes on where it was cut off)
    python -m tests.benchmarks.tournament --traces FOLDER --finals      (more seeds, of ours, the best rival, stock vLLM)
    python -m tests.benchmarks.tournament --report                      (the tables of what has been played)

L is measured for each workload and fleet: the rate at which the P95 slowdown of stock vLLM is 5. All contenders play
the same programs, arrivals and bytes. FOLDER holds the public traces.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from tests.benchmarks.tournament.grid import cells, pools, robustness_cells
from tests.benchmarks.tournament.play import CONTENDERS, Results, loads
from tests.benchmarks.tournament.plot import picture
from tests.benchmarks.tournament.report import report
from tests.benchmarks.tournament.run import tournament
from tests.benchmarks.tournament.where import on_ray, processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="the folder with the public traces")
    parser.add_argument("--results", type=Path, default=Path("docs/results/tournament.jsonl"))
    parser.add_argument("--cache", type=Path, default=Path(".tournament"), help="for pools of programs and loads")
    parser.add_argument("--contenders", default=";".join(CONTENDERS), help="separated by semicolons")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--finals", action="store_true", help="each cell's best rival of the seeds played, ours, stock")
    parser.add_argument("--robustness", action="store_true", help="workloads that are hard to predict instead")
    parser.add_argument("--whole", action="store_true", help="all cells instead of a covering")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--ray", metavar="ADDRESS", help='play on a Ray cluster instead; "local" is one on this machine'
    )
    parser.add_argument("--report", action="store_true", help="play nothing")
    parser.add_argument("--loads", type=Path, help="write L of each workload and fleet, in programs a second, there")
    parser.add_argument("--picture", type=Path, help="write the gains of all contenders as an SVG there")
    options = parser.parse_args()
    results = Results(options.results)
    if not options.report:
        if options.traces is None:
            parser.error("--traces says where the public traces are")
        pools(options.traces, options.cache)
        offered = robustness_cells() if options.robustness else cells(whole=options.whole)
        chosen = [cell for cell in offered if options.only in str(cell)]
        seeds = range(1, options.seeds + 1)
        place = on_ray(options.cache, options.ray) if options.ray else processes(options.cache, options.jobs)
        contenders = None if options.finals else options.contenders.split(";")
        tournament(chosen, contenders, seeds, options.cache, results, place)
    sys.stdout.write(report(results.scores))
    if options.loads is not None:
        options.loads.write_text(json.dumps(loads(options.cache), indent=1) + "\n")
    if options.picture is not None:
        options.picture.write_text(picture(results.scores))


if __name__ == "__main__":
    main()
