"""Agent programs on a real vLLM: stock, through agentserve under one policy after another, and without our plugin.

Two engines of equal size (8,192 tokens of KV), one with the plugin, are up all the time; only one is used at a time, on
an otherwise idle machine, and forgets what it has cached before each replay. Gateways keep what they learned from one
repetition to the next. L is the rate at which the stock engine completes such programs when all are there at once. A
repetition replays the same programs and arrivals on every side, and the sides take turns at being first; figures are
ratios within repetitions (stock over ours, so above 1 is better than stock), as geometric means with 95 % t-intervals.

    python -m tests.benchmarks.programs --json docs/results/programs.json       (hours; goes on where it was cut off)
    python -m tests.benchmarks.programs --report docs/results/programs.json     (prints the tables of what was run)
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from agentserve.commands.common import run_interruptibly
from agentserve.config import Launch
from agentserve.demo.arms import MODEL_NAME, EngineSize, pin_counts
from agentserve.demo.comparison import Workload, run, saturated_rate
from agentserve.demo.outcome import ArmOutcome
from agentserve.engines import demo_model
from agentserve.engines.launched import LaunchedEngine
from agentserve.text2sql.engines import DEV_MODE
from agentserve.validation.served import ServedGateway
from scheduler.policy import PRESETS
from scheduler.types import EngineId
from simulator.fleet import parse_fleet
from simulator.intervals import paired_ratio
from simulator.world import simulate
from workloads.program import Program
from workloads.records import program_records
from workloads.synth import calibrate

FOLDER = Path(".bench/programs")
"""Logs, and what gateways have learned."""
LOW = 0.15
"""At this multiple of L and below programs are next to alone: idle time is skipped, and the time alone fitted."""
LOADS = "1.5,1.0,0.7,0.15"
POLICIES = "agentserve,infercept,fcfs_ttl,continuum,continuum_code"
"""The best of the tournament."""
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

    @property
    def loads(self) -> list[float]:
        """Those that were run, the highest first."""
        return sorted({result.load for result in self.results}, reverse=True)

    def arms(self, load: float) -> list[str]:
        """Who ran at a load beside the stock engine."""
        return [name for name in dict.fromkeys(r.arm for r in self.results if r.load == load) if name != STOCK]

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


@dataclass(frozen=True, slots=True)
class Client:
    """Where a replay's clients go."""

    name: str
    url: str

    async def pins(self) -> Mapping[str, int]:
        """What has become of pins; nothing on an engine itself."""
        return {} if self.name == STOCK else await pin_counts(self.url)


class Engines:
    """The stock engine, and one with our plugin."""

    def __init__(self, size: EngineSize) -> None:
        self.stock = _engine(size, plugin=False)
        self.ours = _engine(size, plugin=True)

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Both, one after the other: two that load at once take longer."""
        try:
            for engine in (self.stock, self.ours):
                say(f"starting an engine, {engine.name}")
                await engine.start(lambda _: None)
            yield
        finally:
            for engine in (self.stock, self.ours):
                await engine.stop()

    @asynccontextmanager
    async def side(self, name: str) -> AsyncIterator[Client]:
        """A side, whose engine has forgotten all before."""
        engine = self.stock if name in {STOCK, BARE} else self.ours
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as http:
            (await http.post(f"{engine.url}/reset_prefix_cache")).raise_for_status()
        if name == STOCK:
            yield Client(name, engine.url)
            return
        section = {"name": str(engine.name), "url": engine.url, "priority": engine is self.ours}
        config = {"pools": [{"model": MODEL_NAME, "engines": [section]}]}
        kept = FOLDER / f"{name}.state.json"
        policy = PRESETS[OURS if name == BARE else name]
        async with ServedGateway(config, policy, FOLDER, name, [str(engine.name)], lambda _: None, kept) as gateway:
            yield Client(name, gateway.url)


def _engine(size: EngineSize, *, plugin: bool) -> LaunchedEngine:
    launch = Launch.model_validate(size.launch(plugin=plugin))
    launch = launch.model_copy(update={"env": {**launch.env, DEV_MODE: "1"}})
    name = "plugin" if plugin else "stock"
    return LaunchedEngine(EngineId(name), launch, MODEL_NAME, FOLDER / f"{name}.log")


async def measure(engines: Engines, kept: Run | None, options: argparse.Namespace) -> Run:
    """Runs what is missing of a benchmark, saving after every replay."""
    async with engines.up():
        workload = Workload(options.programs, await calibrate(engines.stock.url, MODEL_NAME))
        return await replay_all(engines, workload, kept or await begin(engines, workload, options), options)


async def replay_all(engines: Engines, workload: Workload, kept: Run, options: argparse.Namespace) -> Run:
    names = [STOCK, *options.policies.split(","), *([BARE] if options.bare else [])]
    for repetition in range(options.repetitions):
        for load in map(float, options.loads.split(",")):
            programs = workload.arriving(repetition + 1, load * kept.rate)
            if load <= LOW:
                programs = programs[: options.low_programs]
            for name in rotated(names, repetition):
                if not kept.has(load, repetition, name):
                    async with engines.side(name) as side:
                        outcome = await run(side, programs, workload, skip_idle=load <= LOW)
                    kept.results.append(result_of(outcome, load, repetition))
                    kept.save(options.json)
                    tell(kept.results[-1])
    return kept


async def begin(engines: Engines, workload: Workload, options: argparse.Namespace) -> Run:
    """Measures L, unless it is given."""
    rates = [options.rate] if options.rate else await saturated(engines, workload, options.saturations)
    say(f"L = {average(rates):.4f} programs/s, from {[round(rate, 4) for rate in rates]}")
    command = shlex.join(["python", "-m", "tests.benchmarks.programs", *sys.argv[1:]])
    return Run(command, average(rates), rates, options.programs)


async def saturated(engines: Engines, workload: Workload, turns: int) -> list[float]:
    rates = []
    for turn in range(turns):
        async with engines.side(STOCK) as side:
            rates.append(await saturated_rate(side, workload, 1000 + turn))
    return rates


def rotated(names: Sequence[str], turn: int) -> list[str]:
    cut = turn % len(names)
    return [*names[cut:], *names[:cut]]


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
    for load in kept.loads:
        lines += load_table(kept, load, sorted(kept.arms(load), key=lambda name: name != OURS))
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
    if not kept.of(load, STOCK):
        return []
    whole = min(len(kept.of(load, name)) for name in shown)
    stock = kept.of(load, STOCK)[:whole]
    head = " | ".join([*(f"{name}, mean" for name in shown), *(f"{STOCK} / {name}" for name in arms)])
    lines = [f"## {load} L, {len(stock)} repetitions", "", f"| seconds | {head} |"]
    lines.append("|" + "---|" * (1 + len(shown) + len(arms)))
    for title, figure in COLUMNS:
        columns = [[figure(result) for result in kept.of(load, name)[:whole]] for name in shown]
        cells = [f"{average(column):.2f}" for column in columns]
        cells += [str(paired_ratio(columns[0], column) or "–") for column in columns[1:]]
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
    load = kept.loads[0]
    stock = slowdowns(kept, kept.of(load, STOCK), alone)
    lines = [
        f"## Maximum slowdown at {load} L",
        "",
        f"Completion over the time alone, which is fitted to the stock engine at {LOW} L: gaps + "
        f"{1000 * alone.prefill:.2f} ms a prompt token + {1000 * alone.decode:.1f} ms an output token "
        f"(mean error {100 * alone.error:.0f} %).",
        "",
        "| side | maximum slowdown, mean over repetitions | vLLM / it |",
        "|---|---|---|",
        f"| {STOCK} | {average(stock):.2f} | |",
    ]
    for name in kept.arms(load):
        ours = slowdowns(kept, kept.of(load, name), alone)
        whole = min(len(stock), len(ours))
        lines.append(f"| {name} | {average(ours):.2f} | {paired_ratio(stock[:whole], ours[:whole]) or '–'} |")
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
    for load in kept.loads:
        repetitions = [result.repetition for result in kept.of(load, STOCK)]
        if load > LOW and repetitions:
            means = [
                [simulated(kept, load, repetition, *side) for repetition in repetitions] for side in sides.values()
            ]
            lines.append(
                f"| {load} L | {' | '.join(str(paired_ratio(means[0], other) or '–') for other in means[1:])} |"
            )
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
    parser.add_argument("--report", type=Path, help="print the tables of a run and measure nothing")
    parser.add_argument("--policies", default=POLICIES, help="presets, separated by commas")
    parser.add_argument("--bare", action="store_true", help="the default also in front of the engine without plugin")
    parser.add_argument("--loads", default=LOADS, help="multiples of L, separated by commas")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--programs", type=int, default=16)
    parser.add_argument("--low-programs", type=int, default=16, help="the first so many of them at low load")
    parser.add_argument("--saturations", type=int, default=2, help="runs that measure L")
    parser.add_argument("--rate", type=float, help="L in programs a second, where it is known, instead of measuring it")
    options = parser.parse_args()
    if options.report:
        say(report(Run.load(options.report)))
    elif options.json:
        FOLDER.mkdir(parents=True, exist_ok=True)
        engines = Engines(EngineSize(demo_model.prepare()))
        earlier = Run.load(options.json) if options.json.exists() else None
        kept = run_interruptibly(measure(engines, earlier, options))
        options.json.with_suffix(".md").write_text(
            f"# Agent programs on a real vLLM\n\n`{kept.command}`\n\n{report(kept)}"
        )
        say(report(kept))
    else:
        parser.error("--json says where to keep the run")


if __name__ == "__main__":
    main()
