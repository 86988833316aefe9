"""The gateway's background tuner while the mix of Text-to-SQL queries shifts, in virtual time.

    python -m tests.benchmarks.text2sql_tuning --json FILE --picture FILE.svg

Queries come at a constant rate: of the natural mix in the first half, of the uniform one in the second. The tuner is
the gateway's own (`agentserve.gateway.tuner`) with its search, its trials in live slices and its recording; a simulated
world stands in for the gateway, and time is that world's. It raises attainment. Beside it the same queries are served
under the policy as it was. Alpha is then tried on a grid, with fresh queries of each mix at the same rate: that tells
its optimum, its worst value, and how far from the optimum the tuned policy ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import fmean

from prometheus_client import CollectorRegistry

from agentserve.config import TuneSection
from agentserve.gateway.lives import Lives
from agentserve.gateway.recorder import INTERVAL, Recorder
from agentserve.gateway.tuner import Tuner
from agentserve.gateway.tuning.search import Found, Order, Question, find, see
from agentserve.gateway.tuning.trial import Slice
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, Event, PolicyChanged
from scheduler.policy import KINDS, PRESETS, Choice, PolicyConfig
from scheduler.types import EngineId, EngineSpec, PrefixMark, Seconds
from simulator.intervals import Interval, interval
from simulator.report.axis import Axis
from simulator.tune.resample import moved
from simulator.tune.space import RANGES, Parameter, rounded, with_values
from simulator.world import MODEL, World, simulate
from tests.benchmarks.drawing import RULES, alone_times
from tests.benchmarks.lines import Lines
from tests.benchmarks.text2sql_sim.grid import CONTEXT, FLEET
from workloads.arrivals import poisson
from workloads.generate import generate
from workloads.program import Program
from workloads.staged import TEXT2SQL_NATURAL, TEXT2SQL_UNIFORM, Workflow

START = replace(PRESETS["text2sql"], name="text2sql, balanced", placement=Choice("balanced"))
"""The policy that is tuned: the order and the admission of the preset, and the placement that has an alpha."""
ALPHA = Parameter("placement", "balanced", "alpha")
SHARE, SCALE = 0.25, 5
"""Of templates in prompts, and how many times what it takes alone a query may take."""
POOL = 200
"""Different queries of each mix."""
BIN: Seconds = 1800.0
"""Queries that arrive within so many seconds are one point of the picture."""
GRID = 6
"""Values of alpha that are tried, evenly over what a search may try."""
OFFLINE = 150
"""Queries that one value is judged by with each seed."""
HOUR: Seconds = 3600.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Queries of one kind to draw from, and what each takes alone."""

    queries: Sequence[Program]
    alone: Mapping[str, Seconds]

    @classmethod
    def of(cls, kind: Workflow) -> Mix:
        """Generates them."""
        queries = generate(kind.with_templates(SHARE), POOL, 17, CONTEXT)
        return cls(queries, alone_times([(query,) for query in queries], FLEET))

    def draw(self, count: int, seed: int, first: int = 0) -> list[Program]:
        """So many of them with their objectives, numbered from `first` on; all arrive at 0."""
        rng = Random(f"mix/{seed}/{first}")
        found = []
        for number in range(first, first + count):
            query = rng.choice(self.queries)
            (copy,) = moved((query,), 0.0, f"#{number}")
            found.append(replace(copy, objective_s=SCALE * self.alone[query.id]))
        return found


def shifting(mixes: Sequence[Mix], hours: float, rate: float, seed: int) -> list[Program]:
    """Queries of each mix for its share of the time, one mix after the other, in one Poisson process."""
    each = round(hours * HOUR * rate / len(mixes))
    queries = [query for place, mix in enumerate(mixes) for query in mix.draw(each, seed, place * each)]
    return poisson(queries, rate, seed)


# --- the tuner in virtual time ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pause:
    """What the tuner awaits when it sleeps: whoever runs it lets so much time pass."""

    seconds: Seconds

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


@dataclass(frozen=True, slots=True)
class Change:
    """A policy that came into force, as the parameters that differ from the first one's."""

    at: Seconds
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class Searched:
    """One search of the tuner."""

    at: Seconds
    cpu: Seconds
    simulations: int
    values: dict[str, float]
    gain: float
    improved: bool


class Served:
    """A world that serves queries, and what the tuner needs of the gateway that it stands in for."""

    def __init__(self, queries: Sequence[Program], policy: PolicyConfig, folder: Path, seed: int) -> None:
        self.brain = Brain(policy, seed=seed)
        self.world = World(list(queries), FLEET, self.brain, seed=seed, rules=RULES)
        self.specs: Mapping[EngineId, EngineSpec] = {
            name: station.spec(MODEL) for name, station in self.world.gateway.stations.items()
        }
        self.engines: Collection[EngineId] = self.specs.keys()
        self.recording = folder / "calls.jsonl"
        self.begin = time.time()
        self.recorder = Recorder(self.recording, CollectorRegistry())
        self.lives = Lives([self.recorder])
        self.changes: list[Change] = []
        self.searches: list[Searched] = []
        self._first = policy
        self._now: Seconds = 0.0
        self.world.gateway.listen(self._record)

    def now(self) -> Seconds:
        """The world's time."""
        return self.world.clock.now

    def handle(self, event: Event) -> None:
        """Gives the brain an event."""
        self.world.gateway.tell(event)

    def run(self, settings: TuneSection) -> None:
        """Serves all queries, with the tuner at work."""
        running = Tuner(
            settings,
            self.recording,
            self,
            searcher=self._search,
            looker=self._look,
            sleep=_sleep,
            clock=lambda: self.begin + self._now,
        ).run()
        while not self.world.clients.done:
            pause = running.send(None)
            self._now += pause.seconds
            self.world.run_until(self._now)
            time.sleep(2 * INTERVAL)  # the recorder's thread writes what has ended
        running.close()
        self.recorder.close()

    def _record(self, event: Event, decision: Decision) -> None:
        if isinstance(event, CallArrived):
            # a gateway's hashes have 64 bits; the simulator's are Python's, and may be negative
            event = replace(event, prefix=tuple(PrefixMark(mark.hash % 2**64, mark.size) for mark in event.prefix))
        if isinstance(event, PolicyChanged):
            self.changes.append(Change(event.at, _differences(self._first, event.policy)))
        self.lives.record(event, decision)

    async def _search(self, order: Order) -> Found:
        begin = time.process_time()
        found = find(order)
        outcome = found.outcome
        self.searches.append(
            Searched(
                self._now,
                time.process_time() - begin,
                outcome.simulations,
                {str(parameter): value for parameter, value in outcome.values.items()},
                outcome.gain.value,
                outcome.improved,
            )
        )
        return found

    async def _look(self, question: Question) -> Slice | None:
        return see(question)


async def _sleep(seconds: Seconds) -> None:
    await Pause(seconds)


def _differences(first: PolicyConfig, policy: PolicyConfig) -> dict[str, object]:
    return {
        f"{kind}.{name}": value
        for kind in KINDS
        for name, value in getattr(policy, kind).params
        if (name, value) not in getattr(first, kind).params
    }


# --- what came of it --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Course:
    """The share of queries in time, by the half hour in which they arrived."""

    times: list[Seconds]
    attained: list[float]

    @classmethod
    def of(cls, world: World) -> Course:
        """That of a world that has run."""
        bins: dict[int, list[bool]] = {}
        for program in world.ledger.simulation("", 0).programs:
            bins.setdefault(int(program.arrival // BIN), []).append(bool(program.in_time))
        return cls([(place + 0.5) * BIN for place in sorted(bins)], [fmean(bins[place]) for place in sorted(bins)])


@dataclass(frozen=True, slots=True)
class Offline:
    """Attainment with fresh queries of one mix, by seed: for each alpha with the other parameters as the tuner left them,
    of the policy as it was, and of the one that the tuner ended with."""

    alphas: dict[float, list[float]]
    default: list[float]
    tuned: list[float]

    @property
    def best(self) -> float:
        """The alpha with the highest mean."""
        return max(self.alphas, key=lambda alpha: fmean(self.alphas[alpha]))

    @property
    def worst(self) -> float:
        """The alpha with the lowest."""
        return min(self.alphas, key=lambda alpha: fmean(self.alphas[alpha]))


def offline(mix: Mix, rate: float, seeds: Sequence[int], start: PolicyConfig, tuned: PolicyConfig) -> Offline:
    """Serves fresh queries of a mix under each policy."""

    def attained(policy: PolicyConfig) -> list[float]:
        return [_attained(poisson(mix.draw(OFFLINE, seed), rate, seed), policy, seed) for seed in seeds]

    bounds = RANGES[ALPHA]
    steps = [rounded(bounds.low + (bounds.high - bounds.low) * step / (GRID - 1)) for step in range(GRID)]
    alphas = {alpha: attained(with_values(tuned, {ALPHA: alpha})) for alpha in steps}
    return Offline(alphas, attained(start), attained(tuned))


def _attained(queries: Sequence[Program], policy: PolicyConfig, seed: int) -> float:
    programs = simulate(queries, FLEET, policy, seed=seed, rules=RULES).programs
    return fmean(bool(program.in_time) for program in programs)


@dataclass(slots=True)
class Result:
    """All of it."""

    command: str
    rate: float
    hours: float
    tuned: Course
    still: Course
    changes: list[Change]
    searches: list[Searched]
    offline: dict[str, Offline] = field(default_factory=dict)

    def report(self) -> str:
        """As Markdown."""
        cpu = sum(search.cpu for search in self.searches)
        lines = [
            f"{len(self.searches)} searches, {sum(search.simulations for search in self.searches)} simulations, "
            f"{cpu:,.0f} s of one core in {self.hours:g} h of traffic: {cpu / (self.hours * HOUR):.1%} of a core.",
            "",
            "| mix | worst alpha | default | tuned | best alpha | tuned below the best |",
            "|---|---|---|---|---|---|",
            *(_row(name, found) for name, found in self.offline.items()),
            "",
            "| hour | policy in force, where it differs from the first one |",
            "|---|---|",
            *(f"| {change.at / HOUR:.2f} | {change.parameters or 'the first one'} |" for change in self.changes),
        ]
        return "\n".join([*lines, ""])

    def picture(self) -> str:
        """Attainment over time as an SVG."""
        lines = {
            name: [(at / HOUR, 100 * share) for at, share in zip(course.times, course.attained, strict=True)]
            for name, course in (("with the tuner", self.tuned), ("without", self.still))
        }
        return Lines(
            "Queries within their objective while the mix shifts",
            Axis(0, self.hours, " h"),
            Axis(0, 100, " %"),
            "time",
            lines,
            {"the mix shifts": self.hours / 2},
        ).svg()


def _row(name: str, found: Offline) -> str:
    best, worst = (found.alphas[alpha] for alpha in (found.best, found.worst))
    below = interval([100 * (one - other) for one, other in zip(best, found.tuned, strict=True)])
    return (
        f"| {name} | {_share(worst)} ({found.worst:g}) | {_share(found.default)} | {_share(found.tuned)} | "
        f"{_share(best)} ({found.best:g}) | {_points(below)} |"
    )


def _share(values: Sequence[float]) -> str:
    return f"{fmean(values):.1%}"


def _points(found: Interval) -> str:
    half = "" if found.half is None else f" ± {found.half:.1f}"
    return f"{found.mean:.1f}{half} points"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="of traffic, half of each mix")
    parser.add_argument("--rate", type=float, default=0.05, help="queries a second")
    parser.add_argument("--budget", type=int, default=16, help="settings that a search tries")
    parser.add_argument("--seeds", type=int, default=4, help="simulations of each, and of what is tried on the grid")
    parser.add_argument("--seed", type=int, default=1, help="of the queries")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = START
    mixes = {"natural": Mix.of(TEXT2SQL_NATURAL), "uniform": Mix.of(TEXT2SQL_UNIFORM)}
    queries = shifting(list(mixes.values()), options.hours, options.rate, options.seed)
    with tempfile.TemporaryDirectory(prefix="agentserve-text2sql-") as folder:
        served = Served(queries, start, Path(folder), options.seed)
        served.run(
            TuneSection(objective="attainment", budget=options.budget, seeds=options.seeds, every=1200.0, window=2400.0)
        )
    still = World(list(queries), FLEET, Brain(start, seed=options.seed), seed=options.seed, rules=RULES)
    still.run()
    result = Result(
        " ".join(sys.argv[1:]),
        options.rate,
        options.hours,
        Course.of(served.world),
        Course.of(still),
        served.changes,
        served.searches,
    )
    for name, mix in mixes.items():
        seeds = range(101, 101 + options.seeds)
        result.offline[name] = offline(mix, options.rate, seeds, start, served.brain.policy)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(result), indent=1) + "\n")
    if options.picture is not None:
        options.picture.write_text(result.picture())
    sys.stdout.write(result.report())


if __name__ == "__main__":
    main()
