"""Text-to-SQL on two real vLLM of unequal speed: FCFS round robin against agentserve, on the same questions.

Both engines are up all the time, each on a core of its own, one of them with a share of its core only. A repetition asks
the same questions at the same times on both sides, which take turns at being first; engines forget all before. The load
is what round robin answers a second when questions are there at once, measured at the start: there it just saturates.
Figures are ratios within repetitions (round robin over agentserve), as geometric means with 95 % t-intervals.

    python -m tests.benchmarks.text2sql_real --json docs/results/text2sql-real.jsonl     (goes on where it was cut off)
    python -m tests.benchmarks.text2sql_real --report docs/results/text2sql-real.jsonl   (measures nothing)
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agentserve.commands.common import run_interruptibly
from agentserve.engines import demo_model
from agentserve.text2sql.arms import ARMS, BASELINE, OURS, Arm
from agentserve.text2sql.comparison import ALONE, AT_ONCE, Bench, Pace, settings
from agentserve.text2sql.engines import Fleet
from agentserve.text2sql.figures import Figure, answered, figures
from scheduler.types import Seconds
from simulator.intervals import paired_ratio
from workloads.jsonl import Lines
from workloads.records import percentile
from workloads.text2sql.databases import questions
from workloads.text2sql.load import Played, Prepared, prepare

FOLDER = Path(".bench/text2sql-real")
"""Databases, logs, and what gateways have learned."""


@dataclass(frozen=True, slots=True)
class Run:
    """One side's questions in one repetition. `pace`, `rate` and `slo` are those of the whole benchmark."""

    repetition: int
    arm: str
    pace: Pace
    rate: float
    slo: Seconds
    share: float
    played: tuple[Played, ...]


RUNS = Lines("agentserve.text2sql_real", 1, Run)


def measured(options: argparse.Namespace) -> list[Run]:
    """All runs, after those that were missing have been made."""
    runs = list(RUNS.read(options.json)) if options.json.exists() else []
    missing = [turn for turn in plan(options.repetitions) if turn not in {(run.repetition, run.arm) for run in runs}]
    if missing:
        run_interruptibly(measure(options, prepare(questions(FOLDER / "databases")), runs, missing))
    return runs


async def measure(
    options: argparse.Namespace, prepared: Sequence[Prepared], runs: list[Run], missing: Sequence[tuple[int, str]]
) -> None:
    """Adds what is missing to the runs, and saves them after each."""
    fleet = Fleet(demo_model.prepare(), options.slow_share, emulated=options.emulated, speed=options.speed)
    async with fleet.up(FOLDER, say) as engines:
        bench = Bench(engines, FOLDER, settings(options.max_revise, 1), lambda _: None)
        pace, rate, slo = (
            (runs[0].pace, runs[0].rate, runs[0].slo) if runs else await find_pace(bench, prepared, options)
        )
        for repetition, name in missing:
            arm = next(arm for arm in ARMS if arm.name == name)
            asked = chosen(prepared, options.questions, repetition)
            played = await bench.run(arm, asked, rate, repetition, slo)
            runs.append(Run(repetition, name, pace, rate, slo, options.slow_share, tuple(played)))
            RUNS.write(options.json, runs)
            say(f"#{repetition} {name:<12} {shown(figures(played, slo))}")


async def find_pace(
    bench: Bench, prepared: Sequence[Prepared], options: argparse.Namespace
) -> tuple[Pace, float, float]:
    """How fast questions can come, and how soon answers are wanted. Both sides learn from it."""
    if options.pace:
        pace = Pace(*options.pace)
    else:
        alone = await bench.alone(prepared[-ALONE:])
        pace = Pace(alone, await bench.saturation(prepared[-ALONE - AT_ONCE : -ALONE]))
    rate = options.rate or options.load * pace.saturation
    slo = options.slo_scale * pace.alone
    say(
        f"alone {pace.alone:.1f} s, round robin answers {pace.saturation:.4f} a second; {rate:.4f} come, SLO {slo:.1f} s"
    )
    return pace, rate, slo


def plan(repetitions: int) -> Iterator[tuple[int, str]]:
    """Repetitions and sides, which take turns at being first."""
    for repetition in range(repetitions):
        pair: Sequence[Arm] = ARMS if repetition % 2 == 0 else ARMS[::-1]
        for arm in pair:
            yield repetition, arm.name


def chosen(prepared: Sequence[Prepared], count: int, repetition: int) -> list[Prepared]:
    """The questions of a repetition: each takes those that follow the last one's, round and round."""
    begin = repetition * count
    return [prepared[number % len(prepared)] for number in range(begin, begin + count)]


def shown(found: Sequence[Figure]) -> str:
    """The beginning of a run's table in one line."""
    return ", ".join(f"{figure.name} {figure}" for figure in found[:7])


def report(runs: Sequence[Run]) -> str:
    """The tables, in Markdown, of the repetitions that both sides have ended."""
    first, last = ([run for run in runs if run.arm == arm.name] for arm in (BASELINE, OURS))
    whole = {run.repetition for run in first} & {run.repetition for run in last}
    sides = [
        sorted((run for run in side if run.repetition in whole), key=lambda run: run.repetition)
        for side in (first, last)
    ]
    if not whole:
        return "No repetition has ended on both sides.\n"
    run = runs[0]
    lines = [
        f"{len(whole)} repetitions of {len(run.played)} questions at {run.rate:.4f} a second; round robin answers "
        f"{run.pace.saturation:.4f} a second when {AT_ONCE} are there at once. One question alone takes "
        f"{run.pace.alone:.1f} s; the SLO is {run.slo:.1f} s. The slow engine has {100 * run.share:.0f} % of its core.",
        "",
        f"| | {BASELINE.name} | {OURS.name} | ratio [95 %] |",
        "|---|---|---|---|",
        *rows(*sides),
        "",
        *revisions(sides),
    ]
    return "\n".join(lines) + "\n"


def rows(first: Sequence[Run], last: Sequence[Run]) -> Iterator[str]:
    """A row a figure: means over repetitions, and the paired ratio of what costs; then the P95 of all questions."""
    tables = [[figures(run.played, run.slo) for run in side] for side in (first, last)]
    for columns in zip(*(zip(*table, strict=True) for table in tables), strict=True):
        means = [mean(column) for column in columns]
        yield f"| {means[0].name.strip()} | {means[0]} | {means[1]} | {compared(columns[0], columns[1])} |"
    pooled = [
        percentile([each.latency for run in side for each in answered(run.played)] or [0.0], 0.95)
        for side in (first, last)
    ]
    yield f"| latency, P95 of all repetitions' questions (s) | {pooled[0]:.2f} | {pooled[1]:.2f} | {pooled[0] / pooled[1]:.2f} |"


def mean(column: Sequence[Figure]) -> Figure:
    """The mean of one figure over repetitions."""
    values = [figure.value for figure in column if figure.value is not None]
    return replace(column[0], value=sum(values) / len(values) if values else None)


def compared(first: Sequence[Figure], last: Sequence[Figure]) -> str:
    """The paired ratio of a figure that costs, with its interval; empty of others."""
    pairs = [(a.value, b.value) for a, b in zip(first, last, strict=True) if a.cost and a.value and b.value]
    found = paired_ratio([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
    return "" if found is None else str(found)


def revisions(sides: Sequence[Sequence[Run]]) -> Iterator[str]:
    """How many questions needed how many revisions."""
    for side in sides:
        counts = Counter(each.revisions for run in side for each in answered(run.played))
        told = ", ".join(f"{count} x {number}" for number, count in sorted(counts.items()))
        yield f"Revisions under {side[0].arm}: {told} (questions x revisions)."


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the runs are kept, one a line")
    parser.add_argument("--report", type=Path, help="print the tables of a benchmark and measure nothing")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--questions", type=int, default=12, help="in each repetition")
    parser.add_argument("--load", type=float, default=1.0, help="in multiples of round robin's saturation")
    parser.add_argument("--rate", type=float, help="questions a second, instead")
    parser.add_argument(
        "--pace",
        type=float,
        nargs=2,
        metavar=("ALONE", "SATURATION"),
        help="seconds and questions a second that were found before, to measure them no more",
    )
    parser.add_argument("--slo-scale", type=float, default=5.0, help="in multiples of the time alone")
    parser.add_argument("--max-revise", type=int, default=2)
    parser.add_argument("--slow-share", type=float, default=0.4, help="of the slow engine's core")
    parser.add_argument("--emulated", action="store_true", help="to try the benchmark itself")
    parser.add_argument("--speed", type=float, default=1.0, help="of emulated engines")
    options = parser.parse_args()
    if options.report:
        say(report(list(RUNS.read(options.report))))
    elif options.json:
        text = report(measured(options))
        command = shlex.join(["python", "-m", "tests.benchmarks.text2sql_real", *sys.argv[1:]])
        options.json.with_suffix(".md").write_text(f"# Text-to-SQL on two real engines\n\n`{command}`\n\n{text}")
        say(text)
    else:
        parser.error("--json says where to keep the runs")


if __name__ == "__main__":
    main()
