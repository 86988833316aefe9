"""Text-to-SQL with deadlines in the simulator: orders with the same placement, and against the published comparators.

    python -m tests.benchmarks.text2sql_sim --traces FOLDER        (the covering; goes on where it was cut off)
    python -m tests.benchmarks.text2sql_sim --report               (the tables of what has been played)

Loads are multiples of what the fleet can serve. All contenders play the same queries, arrivals and bytes. FOLDER holds
the public traces.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.text2sql_sim.contenders import ASIDE, CONTENDERS, MAIN
from tests.benchmarks.text2sql_sim.grid import PARTS, Cell, cells
from tests.benchmarks.text2sql_sim.play import Results, Task, play_missing
from tests.benchmarks.text2sql_sim.plot import picture
from tests.benchmarks.text2sql_sim.report import report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="the folder with the public traces")
    parser.add_argument("--results", type=Path, default=Path("docs/results/text2sql-sim.jsonl"))
    parser.add_argument("--contenders", default="", help="only these, separated by semicolons")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="all cells instead of a covering")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", action="store_true", help="play nothing")
    parser.add_argument("--picture", type=Path, help="write attainment over load as an SVG there")
    options = parser.parse_args()
    results = Results(options.results)
    if not options.report:
        if options.traces is None:
            parser.error("--traces says where the public traces are")
        chosen = [cell for cell in cells(whole=options.whole) if options.only in str(cell)]
        names = options.contenders.split(";") if options.contenders else list(CONTENDERS)
        unknown = [name for name in names if name not in CONTENDERS]
        if unknown:
            parser.error(f"there is no contender {unknown[0]!r}; known are {'; '.join(CONTENDERS)}")
        play_missing(list(tasks(chosen, names, options.seeds)), results, options.traces, options.jobs)
    sys.stdout.write(report(results.scores))
    if options.picture is not None:
        options.picture.write_text(picture(results.scores))


def tasks(chosen: Sequence[Cell], names: Sequence[str], seeds: int) -> Iterator[Task]:
    """Seed by seed, so that one that is cut off is whole; parts and presets play only a few cells."""
    for seed in range(1, seeds + 1):
        for group in (MAIN, ASIDE):
            for cell in chosen:
                yield from (
                    Task(cell, name, seed) for name in names if name in group and (group is MAIN or cell in PARTS)
                )


if __name__ == "__main__":
    main()
