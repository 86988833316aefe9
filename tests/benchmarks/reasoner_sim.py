"""Virtual models in simulation: what asynchronous, conformal test-time scaling is worth under the model of
`simulator/reasoner/questions.py`. Answers and scores are simulated; times are of modelled GPUs, or published means.

    python -m tests.benchmarks.reasoner_sim --json docs/results/reasoner-sim.json --markdown docs/results/reasoner-sim.md
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean, stdev

from scheduler.procedures.base import Kind, ProcedureSpec, Selection
from simulator.reasoner.bench import Bench, Settled
from simulator.reasoner.questions import Question, questions
from simulator.reasoner.record import Record
from simulator.reasoner.world import Pair, Reasoner

FREE = ProcedureSpec(Kind.ATTS, "draft", "target", decided=None, certain=None, follow_load=False)
ATTS = ProcedureSpec(Kind.ATTS, "draft", "target", follow_load=False)
"""As it is by default, which stops early."""
HARD = 1.0
"""Mean difficulty: at 0 nearly all majorities are right, and no procedure can differ."""


def _arms() -> dict[str, ProcedureSpec]:
    alone = replace(FREE, kind=Kind.SELF_CONSISTENCY, draft="target", target="")
    draft = replace(alone, draft="draft")
    return {
        "atts": ATTS,
        "atts, no early stop": FREE,
        "barrier": replace(FREE, kind=Kind.ATTS_BARRIER),
        "random takeover": replace(FREE, selection=Selection.RANDOM),
        "target alone": replace(alone, samples=1),
        "target best of 16": replace(alone, kind=Kind.BEST_OF_N),
        "target majority of 16": alone,
        "draft majority of 16": draft,
        "draft majority of 16, stopped early": replace(draft, decided=ATTS.decided),
        "target majority of 16, stopped early": replace(alone, decided=ATTS.decided),
    }


ARMS = _arms()


@dataclass(frozen=True, slots=True)
class Row:
    """One arm. Times in seconds, tokens a question."""

    arm: str
    questions: int
    accuracy: float
    some_sample_right: float
    seconds: float
    p95_seconds: float
    draft_tokens: float
    target_tokens: float
    rates: dict[int, float]
    """Realised takeover rate by first turn of the bucket."""
    scored: dict[int, int]


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference in points, paired by question, with its interval at 95 %."""

    points: float
    low: float
    high: float


def row(arm: str, records: Sequence[Record]) -> Row:
    count = len(records)
    tokens = sum((record.tokens for record in records), Counter[str]())
    verified = sum((record.verified for record in records), Counter[int]())
    takeovers = sum((record.takeovers for record in records), Counter[int]())
    seconds = sorted(record.seconds for record in records)
    return Row(
        arm,
        count,
        round(fmean(record.right for record in records), 4),
        round(fmean(record.some_right for record in records), 4),
        round(fmean(seconds), 1),
        round(seconds[int(0.95 * count)], 1),
        round(tokens["draft"] / count),
        round(tokens["target"] / count),
        {bucket: round(takeovers[bucket] / verified[bucket], 3) for bucket in sorted(verified)},
        {bucket: verified[bucket] for bucket in sorted(verified)},
    )


def gap(ours: Sequence[Record], theirs: Sequence[Record]) -> Gap:
    """How much more often our answers are right."""
    other = {record.question.name: record.right for record in theirs}
    differences = [100.0 * (record.right - other[record.question.name]) for record in ours]
    mean = fmean(differences)
    half = 1.96 * stdev(differences) / math.sqrt(len(differences))
    return Gap(round(mean, 2), round(mean - half, 2), round(mean + half, 2))


def agreement(ours: Sequence[Record], theirs: Sequence[Record]) -> float:
    """The share of questions with the same answer."""
    other = {record.question.name: record.conclusion.answer for record in theirs}
    return fmean(record.conclusion.answer == other[record.question.name] for record in ours)


def without_engines(count: int, seed: int) -> dict[str, object]:
    """Rates, votes and tokens at many questions."""
    asked = [replace(question, difficulty=question.difficulty + HARD) for question in questions(count, seed)]
    records = {arm: Bench(seed).run(asked, spec) for arm, spec in ARMS.items()}
    drifting = Bench(seed).run(questions(count, seed, drift=3.0), FREE)
    return {
        "arms": [asdict(row(arm, found)) for arm, found in records.items()],
        "drift": asdict(row("atts, easy to hard", drifting)),
        "conformal_minus_random": asdict(gap(records["atts, no early stop"], records["random takeover"])),
        "async_minus_barrier": asdict(gap(records["atts, no early stop"], records["barrier"])),
        "atts_minus_barrier": asdict(gap(records["atts"], records["barrier"])),
        "early_stop": {
            "atts, the same takeovers": early_stop(*same_takeovers(asked, seed)),
            **{
                f"{writer} majority of 16": early_stop(
                    records[f"{writer} majority of 16, stopped early"], records[f"{writer} majority of 16"]
                )
                for writer in ("target", "draft")
            },
        },
    }


def same_takeovers(asked: Sequence[Question], seed: int) -> tuple[list[Record], list[Record]]:
    """`atts` with early stopping and without, on a calibration that other questions left and that learns no more."""
    other = Bench(seed + 1)
    other.run([replace(question, difficulty=question.difficulty + HARD) for question in questions(300, seed + 1)], FREE)
    settled = Settled.from_json(other.procedures.calibration.to_json())
    return Bench(seed, calibration=settled).run(asked, ATTS), Bench(seed, calibration=settled).run(asked, FREE)


def early_stop(stopped: Sequence[Record], whole: Sequence[Record]) -> dict[str, object]:
    """What stopping saves and loses."""
    return {
        "tokens_saved": round(1 - _tokens(stopped) / _tokens(whole), 3),
        "points_of_agreement_lost": round(100 * (1 - agreement(stopped, whole)), 2),
        "accuracy": asdict(gap(stopped, whole)),
    }


def _tokens(records: Sequence[Record]) -> int:
    return sum(record.tokens.total() for record in records)


def on_engines(count: int, rate: float, seed: int) -> list[dict[str, object]]:
    """Times on modelled GPUs, through the brain. The target-only arms leave the draft's GPU idle."""
    draws = Random(seed)
    arrivals = [0.0]
    while len(arrivals) < count:
        arrivals.append(arrivals[-1] + draws.expovariate(rate))
    asked = [replace(question, difficulty=question.difficulty + HARD) for question in questions(count, seed)]
    rows = []
    for arm in ("atts", "atts, no early stop", "barrier", "target alone", "target best of 16"):
        records = Reasoner(Pair(), ARMS[arm], seed).run(asked, arrivals)
        rows.append(asdict(row(arm, records)))
    return rows


def markdown(report: dict[str, object]) -> str:
    """The tables for people."""
    free: dict[str, object] = report["without_engines"]  # type: ignore[assignment]
    lines = [
        "# Virtual models in simulation",
        "",
        "Everything here is **simulated**: answers and scores come from the model in `simulator/reasoner/questions.py`",
        "(turns and score correlation as measured on a published system; difficulty, mistakes and recovery assumed).",
        f"Command: `{report['command']}`.",
        "",
        "## Rates, votes and tokens: procedures without engines, at published mean times of a step",
        "",
        *_table(free["arms"]),
        "",
        *_table([free["drift"]]),
        "",
        *(f"- {name.replace('_', ' ')}: {free[name]}" for name in free if name not in ("arms", "drift")),
        "",
    ]
    engines: dict[str, list[dict[str, object]]] = report["on_engines"]  # type: ignore[assignment]
    for rate, rows in engines.items():
        lines += [f"## Times on modelled engines, {rate} questions a second", "", *_table(rows), ""]
        lines += [f"- {ratio}" for ratio in _ratios(rows)] + [""]
    return "\n".join(lines)


def _table(rows: object) -> list[str]:
    assert isinstance(rows, list)
    head = "| arm | n | accuracy | any right | seconds | p95 | draft tokens | target tokens | takeover rate by turn |"
    return [head, "|---|---|---|---|---|---|---|---|---|", *(f"| {' | '.join(_cells(row))} |" for row in rows)]


def _cells(row: dict[str, object]) -> list[str]:
    return [str(value) for name, value in row.items() if name != "scored"]


def _ratios(rows: Sequence[dict[str, object]]) -> list[str]:
    seconds = {str(row["arm"]): float(str(row["seconds"])) for row in rows}
    target = {str(row["arm"]): float(str(row["target_tokens"])) for row in rows}
    return [
        f"barrier / without barriers: {seconds['barrier'] / seconds['atts, no early stop']:.2f}x",
        f"barrier / atts: {seconds['barrier'] / seconds['atts']:.2f}x",
        f"target best of 16 / atts: {seconds['target best of 16'] / seconds['atts']:.2f}x",
        f"target tokens, target best of 16 / atts: {target['target best of 16'] / target['atts']:.2f}x",
        "target tokens, target best of 16 / atts without early stop: "
        f"{target['target best of 16'] / target['atts, no early stop']:.2f}x",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--timed", type=int, default=100, help="questions on modelled engines")
    parser.add_argument("--rates", default="0.005,0.02", help="questions a second, by commas")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report: dict[str, object] = {
        "command": f"python -m tests.benchmarks.reasoner_sim --questions {options.questions} --timed {options.timed}"
        f" --rates {options.rates} --seed {options.seed}",
        "without_engines": without_engines(options.questions, options.seed),
        "on_engines": {rate: on_engines(options.timed, float(rate), options.seed) for rate in options.rates.split(",")},
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    if options.markdown:
        options.markdown.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
