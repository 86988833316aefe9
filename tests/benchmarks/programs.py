"""Agent programs on a real vLLM: stock, through agentserve, and through agentserve in front of an engine without plugin.

All engines are of equal size (8,192 tokens of KV) and are up all the time; only one is used at a time, on an otherwise
idle machine. L is the rate at which the stock engine completes such programs when all are there at once. A repetition
replays the same programs and arrivals on every side, and the sides take turns at being first; figures are ratios
within repetitions (stock over ours, so above 1 is better than stock), as geometric means with 95 % t-intervals.

    python -m tests.benchmarks.programs --json docs/results/programs.json        (about an hour; --resume goes on)
    python -m tests.benchmarks.programs --report docs/results/programs.json      (prints the tables of a finished run)
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from agentserve.commands.common import run_interruptibly
from agentserve.demo.arms import MODEL_NAME, Arm, EngineSize, GatewayArm, StockArm
from agentserve.demo.comparison import Workload, run, saturated_rate
from agentserve.demo.outcome import ArmOutcome
from agentserve.engines import demo_model
from scheduler.policy import PRESETS
from simulator.fleet import parse_fleet
from simulator.world import simulate
from workloads.program import Program
from workloads.records import program_records
from workloads.synth import calibrate

OVERLOAD, HEAVY, LOW = 1.5, 2.7, 0.15
"""Arrivals as multiples of L. L is a thrashing engine's rate, so that 1.5 L need not overload it; 2.7 L does."""
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""The two-sided 95 % quantile of Student's t for a sample of so many."""
STOCK, OURS, BARE = "vLLM", "agentserve", "agentserve, no plugin"


@dataclass(frozen=True, slots=True)
class Result:
    """One replay of one repetition on one side. Times in seconds."""

    load: float
    repetition: int
    arm: str
    completions: dict[str, float]
    mean_ttft: float
    max_first_wait: float
    max_later_wait: float
    cached_share: float
    makespan: float
    failed: int
    pins: dict[str, int]

    @property
    def mean(self) -> float:
        return math.fsum(self.completions.values()) / len(self.completions)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.completions.values())
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


@dataclass(slots=True)
class Run:
    """A whole benchmark, as it is kept."""

    command: str
    rate: float
    rates: list[float]
    programs: int
    results: list[Result] = field(default_factory=list)

    def has(self, load: float, repetition: int, arm: str) -> bool:
        return any((r.load, r.repetition, r.arm) == (load, repetition, arm) for r in self.results)

    def of(self, load: float, arm: str) -> list[Result]:
        found = [result for result in self.results if (result.load, result.arm) == (load, arm)]
        return sorted(found, key=lambda result: result.repetition)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        state = json.loads(path.read_text())
        return cls(**{**state, "results": [Result(**result) for result in state["results"]]})


def result_of(outcome: ArmOutcome, load: float, repetition: int) -> Result:
    summary = outcome.summary
    assert summary.ttft_s, "no call was answered"
    assert summary.ttft_first_s, "no first call was answered"
    assert summary.ttft_later_s, "no later call was answered"
    completions = {p.program: round(p.completion_s, 3) for p in program_records(outcome.records) if p.completion_s}
    return Result(
        load,
        repetition,
        outcome.name,
        completions,
        round(summary.ttft_s.mean, 3),
        round(summary.ttft_first_s.max, 3),
        round(summary.ttft_later_s.max, 3),
        round(summary.cached_share or 0.0, 4),
        round(summary.makespan_s, 2),
        summary.calls_failed,
        dict(outcome.pins),
    )


async def measure(options: argparse.Namespace) -> Run:
    """Runs what is missing of a benchmark, saving after every replay."""
    size = EngineSize(demo_model.prepare())
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        arms: list[Arm] = [
            StockArm(size, logs, STOCK),
            GatewayArm(size, logs, OURS, policy=options.policy),
            GatewayArm(size, logs, BARE, policy=options.policy, plugin=False),
        ]
        async with up(arms):
            return await replay_all(arms, options)


@asynccontextmanager
async def up(arms: Sequence[Arm]) -> AsyncIterator[None]:
    """Starts arms one after the other, and stops those that were started."""
    started: list[Arm] = []
    try:
        for arm in arms:
            say(f"starting {arm.name}")
            started.append(arm)
            await arm.start(lambda _: None)
        yield
    finally:
        for arm in started:
            await arm.stop()


async def replay_all(arms: Sequence[Arm], options: argparse.Namespace) -> Run:
    workload = Workload(options.programs, await calibrate(arms[0].url, MODEL_NAME))
    path: Path = options.json
    kept: Run | None = options.kept
    if kept is None:
        rates = [await saturated_rate(arms[0], workload, 1000 + turn) for turn in range(options.saturations)]
        kept = Run("python -m tests.benchmarks.programs", sum(rates) / len(rates), rates, options.programs)
        say(f"L = {kept.rate:.4f} programs/s, from {[round(rate, 4) for rate in rates]}")
        kept.save(path)
    for load, repetition in plan(options):
        count, chosen = (options.low_programs, arms[:2]) if load == LOW else (options.programs, arms)
        programs = workload.arriving(repetition + 1, load * kept.rate)[:count]
        for arm in rotated(chosen, repetition):
            if not kept.has(load, repetition, arm.name):
                outcome = await run(arm, programs, workload, skip_idle=load == LOW)
                kept.results.append(result_of(outcome, load, repetition))
                kept.save(path)
                tell(kept.results[-1])
    return kept


def plan(options: argparse.Namespace) -> Iterator[tuple[float, int]]:
    """Loads and repetitions, interleaved so that a run that is cut off has some of each."""
    repetitions = {OVERLOAD: options.repetitions, LOW: options.low_repetitions, HEAVY: options.heavy_repetitions}
    rounds = max(1, options.repetitions)
    for turn in range(rounds):
        for load, count in repetitions.items():
            for repetition in range(turn * count // rounds, (turn + 1) * count // rounds):
                yield load, repetition


def rotated(arms: Sequence[Arm], turn: int) -> list[Arm]:
    cut = turn % len(arms)
    return [*arms[cut:], *arms[:cut]]


def tell(result: Result) -> None:
    say(
        f"{result.load:>4} L #{result.repetition} {result.arm:<22} mean {result.mean:6.2f}  P95 "
        f"{result.quantile(0.95):6.2f}  later wait {result.max_later_wait:5.2f}  first {result.max_first_wait:5.2f}  "
        f"cached {result.cached_share:.2f}  makespan {result.makespan:6.1f}  failed {result.failed}  {result.pins}"
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Ratio:
    """A paired ratio: geometric mean over repetitions with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def paired(stock: Sequence[float], ours: Sequence[float]) -> Ratio:
    logs = [math.log(a / b) for a, b in zip(stock, ours, strict=True)]
    n = len(logs)
    mean = math.fsum(logs) / n
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1) / n) * STUDENT_T[n] if n > 1 else math.inf
    return Ratio(math.exp(mean), math.exp(mean - spread), math.exp(mean + spread))


@dataclass(frozen=True, slots=True)
class Alone:
    """How long a program takes alone: its gaps, its tokens to prefill and to decode at two fitted speeds."""

    prefill: float
    decode: float
    error: float
    """Mean absolute error of the fit, as a share of the measured time."""

    def seconds(self, program: Program) -> float:
        gaps, prefill, decode = parts(program)
        return gaps + self.prefill * prefill + self.decode * decode


def parts(program: Program) -> tuple[float, int, int]:
    gaps = sum(edge.gap_s for call in program.calls for edge in call.after)
    return gaps, sum(call.new_tokens for call in program.calls), sum(call.output_tokens for call in program.calls)


def fit_alone(measured: Sequence[tuple[Program, float]]) -> Alone:
    """Least squares for the two speeds, from programs that ran (nearly) alone."""
    rows = [(*parts(program), seconds) for program, seconds in measured]
    aa = math.fsum(p * p for _, p, _, _ in rows)
    ab = math.fsum(p * d for _, p, d, _ in rows)
    bb = math.fsum(d * d for _, _, d, _ in rows)
    ay = math.fsum(p * (s - g) for g, p, _, s in rows)
    by = math.fsum(d * (s - g) for g, _, d, s in rows)
    det = aa * bb - ab * ab
    fit = Alone((ay * bb - by * ab) / det, (by * aa - ay * ab) / det, 0.0)
    error = math.fsum(abs(fit.seconds(program) - seconds) / seconds for program, seconds in measured) / len(measured)
    return Alone(fit.prefill, fit.decode, error)


def slowdowns(kept: Run, results: Sequence[Result], alone: Alone) -> list[float]:
    """The maximum slowdown of each repetition."""
    found = []
    for result in results:
        programs = {program.id: program for program in Workload(kept.programs).at_once(result.repetition + 1)}
        found.append(max(time / alone.seconds(programs[name]) for name, time in result.completions.items()))
    return found


def report(kept: Run) -> str:
    """The tables, in Markdown."""
    lines = [f"L = {kept.rate:.4f} programs/s (runs: {', '.join(f'{rate:.4f}' for rate in kept.rates)}).", ""]
    for load, arms in ((OVERLOAD, (OURS, BARE)), (HEAVY, (OURS, BARE)), (LOW, (OURS,))):
        if kept.of(load, STOCK):
            lines += load_table(kept, load, arms)
    lines += slowdown_table(kept)
    lines += ceiling(kept)
    return "\n".join(lines) + "\n"


COLUMNS: tuple[tuple[str, Callable[[Result], float]], ...] = (
    ("completion, mean", lambda result: result.mean),
    ("completion, P95", lambda result: result.quantile(0.95)),
    ("completion, max", lambda result: max(result.completions.values())),
    ("TTFT, mean", lambda result: result.mean_ttft),
    ("longest wait of a first call", lambda result: result.max_first_wait),
    ("longest wait of a later call", lambda result: result.max_later_wait),
    ("makespan", lambda result: result.makespan),
    ("cached share", lambda result: result.cached_share),
)


def load_table(kept: Run, load: float, arms: Sequence[str]) -> list[str]:
    shown = [STOCK, *arms]
    whole = min(len(kept.of(load, name)) for name in shown)
    stock = kept.of(load, STOCK)[:whole]
    head = " | ".join([*(f"{name}, mean" for name in shown), *(f"{STOCK} / {name}" for name in arms)])
    lines = [f"## {load} L, {len(stock)} repetitions", "", f"| seconds | {head} |"]
    lines.append("|" + "---|" * (1 + len(shown) + len(arms)))
    for title, figure in COLUMNS:
        columns = [[figure(result) for result in kept.of(load, name)[:whole]] for name in shown]
        cells = [f"{average(column):.2f}" for column in columns]
        cells += [str(paired(columns[0], column)) for column in columns[1:]]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, "", *pin_lines(kept, load, arms)]


def pin_lines(kept: Run, load: float, arms: Sequence[str]) -> list[str]:
    lines = []
    for name in arms:
        totals: dict[str, int] = {}
        for result in kept.of(load, name):
            for outcome, count in result.pins.items():
                totals[outcome] = totals.get(outcome, 0) + count
        if totals:
            pins = ", ".join(f"{outcome} {count}" for outcome, count in sorted(totals.items()))
            lines += [f"Pins of {name}, all repetitions: {pins}.", ""]
    failed = sum(result.failed for result in kept.results if result.load == load)
    return [*lines, f"Failed calls: {failed}.", ""]


def slowdown_table(kept: Run) -> list[str]:
    measured = [
        (program, result.completions[program.id])
        for result in kept.of(LOW, STOCK)
        for program in Workload(kept.programs).at_once(result.repetition + 1)
        if program.id in result.completions
    ]
    if not measured:
        return []
    alone = fit_alone(measured)
    stock = slowdowns(kept, kept.of(OVERLOAD, STOCK), alone)
    lines = [
        f"## Maximum slowdown at {OVERLOAD} L",
        "",
        f"Completion over the time alone, which is fitted to the stock engine at {LOW} L: gaps + "
        f"{1000 * alone.prefill:.2f} ms a prompt token + {1000 * alone.decode:.1f} ms an output token "
        f"(mean error {100 * alone.error:.0f} %).",
        "",
        "| side | maximum slowdown, mean over repetitions | vLLM / it |",
        "|---|---|---|",
        f"| {STOCK} | {average(stock):.2f} | |",
    ]
    for name in (OURS, BARE):
        ours = slowdowns(kept, kept.of(OVERLOAD, name), alone)
        whole = min(len(stock), len(ours))
        lines.append(f"| {name} | {average(ours):.2f} | {paired(stock[:whole], ours[:whole])} |")
    return [*lines, ""]


def ceiling(kept: Run) -> list[str]:
    """What memory alone could give: the same programs on simulated engines, one of which never evicts anything."""
    sides = {
        "vLLM": ("vllm", "cpu-smollm2:kv8064:stock"),
        "vLLM with all the memory it could use": ("vllm", "cpu-smollm2:kv65536:stock"),
        "agentserve": ("agentserve", "cpu-smollm2:kv8064"),
    }
    lines = [
        "## What is there to gain (simulated)",
        "",
        "The same programs and arrivals on the engine model: a policy that only keeps KV cannot do better than an engine",
        "that never evicts any. Completion, mean, of vLLM with 8,064 tokens over:",
        "",
        f"| load | {' | '.join(list(sides)[1:])} |",
        "|---|---|---|",
    ]
    for load in (OVERLOAD, HEAVY):
        repetitions = [result.repetition for result in kept.of(load, STOCK)]
        if repetitions:
            means = [
                [simulated(kept, load, repetition, *side) for repetition in repetitions] for side in sides.values()
            ]
            lines.append(f"| {load} L | {' | '.join(str(paired(means[0], other)) for other in means[1:])} |")
    return [*lines, ""]


def simulated(kept: Run, load: float, repetition: int, policy: str, engine: str) -> float:
    programs = Workload(kept.programs).arriving(repetition + 1, load * kept.rate)
    outcome = simulate(programs, parse_fleet(engine), PRESETS[policy], seed=repetition)
    return average([program.completion for program in outcome.programs])


def average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the run is kept")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    parser.add_argument("--report", type=Path, help="print the tables of a run and measure nothing")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--low-repetitions", type=int, default=5)
    parser.add_argument("--heavy-repetitions", type=int, default=5)
    parser.add_argument("--programs", type=int, default=16)
    parser.add_argument("--low-programs", type=int, default=16, help="the first so many of them at low load")
    parser.add_argument("--saturations", type=int, default=2, help="runs that measure L")
    parser.add_argument("--policy", default="agentserve")
    options = parser.parse_args()
    if options.report:
        say(report(Run.load(options.report)))
    elif options.json:
        options.kept = Run.load(options.json) if options.resume and options.json.exists() else None
        kept = run_interruptibly(measure(options))
        options.json.with_suffix(".md").write_text(
            f"# Agent programs on a real vLLM\n\n`{kept.command}`\n\n{report(kept)}"
        )
        say(report(kept))
    else:
        parser.error("--json says where to keep the run")


if __name__ == "__main__":
    main()
