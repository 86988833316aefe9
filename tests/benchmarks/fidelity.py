"""How true the simulator is to a real vLLM: the same programs on both, under each preset, and the error of each figure.

Three workloads (low load, overload, prefixes shared across programs) are replayed through a gateway a preset, each in
front of an engine of its own (8,192 tokens of KV); all are up, one is used at a time. A repetition has the same lengths
and arrivals as the others and other text, so that the repetitions differ only by what is not controlled. The step
profile is fitted to replays of other programs on the same system, four with each repetition, because clients and gateway
run on the engine's own cores and slow it down, and because the machine's speed drifts. What a gateway has learned in
one replay it knows in the next, in the simulator too.

    python -m tests.benchmarks.fidelity --json docs/results/fidelity.json       (about 75 minutes; --resume goes on)
    python -m tests.benchmarks.fidelity --report docs/results/fidelity.json     (prints the tables of a finished run)
    python -m tests.benchmarks.fidelity --only-simulate                         (what the simulator says, without engines)
    python -m tests.benchmarks.fidelity --from docs/results/programs.json       (against the benchmark of programs)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from agentserve.commands.common import run_interruptibly
from agentserve.demo.arms import MODEL_NAME, EngineSize, GatewayArm
from agentserve.engines import demo_model
from agentserve.validation import table
from agentserve.validation.agreement import ranking, verdicts
from agentserve.validation.outcome import FIGURES, Outcome, outcome
from agentserve.validation.trial import SETTLE
from agentserve.validation.twin import counted, named, resized, simulate_replays
from scheduler.policy import PRESETS
from simulator.calibrate.fit import fit
from simulator.calibrate.replay import observations
from simulator.engine import EngineConfig
from simulator.fleet import EngineModel
from simulator.profile import SavedProfile, read_profile, save_profile, shipped
from tests.benchmarks import programs as benchmark
from workloads.arrivals import poisson
from workloads.client import replay
from workloads.distributions import LogNormal, Uniform, UniformInt
from workloads.generate import SMALL, Profile, generate
from workloads.program import CallRef, Program, SharedPrefix
from workloads.records import CallRecord, percentile, read_records, write_records

POLICIES = ("vllm", "continuum", "agentserve")
SIZE = EngineSize(demo_model.DEFAULT_PATH)
SHIPPED = shipped("cpu-smollm2")
SHARING = replace(SMALL, name="sharing", prefix=(SharedPrefix("fidelity", 400),), window_tokens=3800)

SHORT = replace(
    SMALL,
    name="short",
    gap_s=LogNormal(0.3, 0.5, cut=1.0),
    first=Uniform(100, 300),
    result=Uniform(20, 60),
    window_tokens=1024,
)
"""So short that many of them decode at once without waiting for memory."""
LONG = replace(SMALL, name="long", turns=UniformInt(1, 1), first=Uniform(1000, 3400), output=Uniform(8, 16))
"""Single prompts of which nothing is cached, as long as those of programs that have lost their KV."""


@dataclass(frozen=True, slots=True)
class Load:
    """A workload: programs of a kind that arrive at a rate."""

    name: str
    kind: Profile
    rate: float
    """Programs a second. The engine completes 0.12 of them when many are there at once."""
    seed: int
    share: float = 1.0
    """Of the number of programs that is asked for."""

    def programs(self, count: int, repetition: int) -> list[Program]:
        """Those of one repetition, which differ from those of others by their text alone."""
        chosen = generate(self.kind, max(2, round(self.share * count)), self.seed, self.kind.window_tokens)
        return named(poisson(chosen, self.rate, self.seed), f"~{repetition}")


LOADS = (
    Load("low load", SMALL, 0.07, 302, share=0.4),
    Load("overload", SMALL, 0.33, 304),
    Load("shared prefixes", SHARING, 0.33, 305),
)
CALIBRATION = (
    Load("one or two at a time", SMALL, 0.06, 901, share=0.25),
    Load("a few at a time", SMALL, 0.12, 902, share=0.5),
    Load("many short ones", SHORT, 0.5, 903, share=1.2),
    Load("long prompts", LONG, 0.3, 904, share=1.2),
)
"""Programs to fit the profile to. None of them waits for memory, which would be taken for slow steps. Short ones, many at
a time, tell what a request costs in a batch from what its context costs; long prompts tell what uncached tokens cost.
"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One replay on the real engine. A session is one start of the gateways: what they learn ends with it."""

    session: int
    load: str
    policy: str
    repetition: int
    real: Outcome
    prompts: dict[str, int] = field(default_factory=dict)
    """What the server counted, by program:call."""


@dataclass(slots=True)
class Run:
    """A whole benchmark, as it is kept. Its profile is in a file beside it."""

    command: str
    programs: int
    replays: list[Replayed] = field(default_factory=list)

    @property
    def sessions(self) -> int:
        return 1 + max((each.session for each in self.replays), default=-1)

    def has(self, load: Load, policy: str, repetition: int) -> bool:
        return any((r.load, r.policy, r.repetition) == (load.name, policy, repetition) for r in self.replays)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        state = json.loads(path.read_text())
        replays = [Replayed(**{**each, "real": Outcome(**each["real"])}) for each in state["replays"]]
        return cls(**{**state, "replays": replays})


# --- the real side ------------------------------------------------------------------------------------------------------


async def measure(options: argparse.Namespace) -> Run:
    """Runs what is missing of a benchmark, saving after every replay."""
    with tempfile.TemporaryDirectory() as folder:
        arms = [GatewayArm(SIZE, Path(folder), policy, policy=policy) for policy in POLICIES]
        async with up(arms):
            return await replay_all(arms, options)


@asynccontextmanager
async def up(arms: Sequence[GatewayArm]) -> AsyncIterator[None]:
    """Starts arms one after the other, and stops those that were started."""
    async with AsyncExitStack() as stack:
        for arm in arms:
            say(f"starting {arm.name}")
            stack.push_async_callback(arm.stop)
            await arm.start(lambda _: None)
        yield


async def calibrate(arm: GatewayArm, repetition: int, options: argparse.Namespace) -> None:
    """Replays programs that are not those of the benchmark, and fits the profile to all such replays so far."""
    for load in CALIBRATION:
        file = calibration_folder(options.json) / file_name(load, arm, repetition)
        if file not in calibrations(options.json):
            records = await play(arm, load, repetition, options)
            told = outcome(records)  # what failed would be missed
            write_records(file, records)
            say(line(load.name, arm.policy, repetition, told))
    saved = fitted([read_records(file) for file in calibrations(options.json)])
    save_profile(saved.profile, profile_path(options.json), saved.measured)
    say(profile_line(saved))


def calibrations(path: Path) -> list[Path]:
    """The records of the calibration so far."""
    return sorted(calibration_folder(path).glob("*.jsonl"))


def fitted(replays: Sequence[Sequence[CallRecord]]) -> SavedProfile:
    """The profile that tells the times of these replays."""
    about = SHIPPED.measured
    assert about is not None
    found = fit(observations(replays, about.max_num_batched_tokens), "fidelity", "fitted to replays through a gateway")
    measured = replace(
        about,
        date=datetime.now(UTC).date().isoformat(),
        command="python -m tests.benchmarks.fidelity",
        num_blocks=engine_config().num_blocks,
        request_overhead=found.request_overhead,
        fit=found.errors,
    )
    return SavedProfile(found.profile, measured)


async def replay_all(arms: Sequence[GatewayArm], options: argparse.Namespace) -> Run:
    kept: Run = options.kept or Run("python -m tests.benchmarks.fidelity", options.programs)
    session = kept.sessions
    for repetition in range(options.repetitions):
        await calibrate(arms[0], repetition, options)
        for load, arm in plan(arms, repetition):
            if not kept.has(load, arm.policy, repetition):
                records = await play(arm, load, repetition, options)
                prompts = {str(call): tokens for call, tokens in counted(records).items()}
                kept.replays.append(Replayed(session, load.name, arm.policy, repetition, outcome(records), prompts))
                kept.save(options.json)
                say(line(load.name, arm.policy, repetition, kept.replays[-1].real))
    return kept


async def play(arm: GatewayArm, load: Load, repetition: int, options: argparse.Namespace) -> list[CallRecord]:
    records = await replay(load.programs(options.programs, repetition), arm.url, MODEL_NAME)
    await asyncio.sleep(SETTLE)
    if options.records is not None:
        write_records(options.records / file_name(load, arm, repetition), records)
    return records


def plan(arms: Sequence[GatewayArm], repetition: int) -> Iterator[tuple[Load, GatewayArm]]:
    """One repetition of everything; the arms take turns at being first."""
    cut = repetition % len(arms)
    for load in LOADS:
        for arm in [*arms[cut:], *arms[:cut]]:
            yield load, arm


def file_name(load: Load, arm: GatewayArm, repetition: int) -> str:
    return f"{load.name.replace(' ', '-')}-{arm.policy}-{repetition}.jsonl"


def profile_path(path: Path) -> Path:
    return path.with_suffix(".profile.json")


def calibration_folder(path: Path) -> Path:
    return path.with_suffix(".calibration")


def prepare(options: argparse.Namespace) -> None:
    """Finds what was kept, or makes room for a new run."""
    demo_model.prepare()
    options.kept = Run.load(options.json) if options.resume and options.json.exists() else None
    if options.kept is None:
        shutil.rmtree(calibration_folder(options.json), ignore_errors=True)
    else:
        options.programs = options.kept.programs
    calibration_folder(options.json).mkdir(exist_ok=True)
    if options.records is not None:
        options.records.mkdir(parents=True, exist_ok=True)


# --- the simulated side -------------------------------------------------------------------------------------------------


def engine_config(*, priority: bool = True) -> EngineConfig:
    """The engine's sizes; of its blocks vLLM keeps one for itself."""
    return EngineConfig(
        num_blocks=SIZE.kv_tokens // SIZE.block_size - 1,
        block_size=SIZE.block_size,
        max_model_len=SIZE.max_model_len,
        priority=priority,
    )


def engine(saved: SavedProfile, *, plugin: bool = True) -> EngineModel:
    overhead = 0.0 if saved.measured is None else saved.measured.request_overhead
    return EngineModel("vllm", "CPU", engine_config(priority=plugin), saved.profile, plugin, overhead)


def twins(kept: Run, saved: SavedProfile) -> list[Outcome]:
    """The simulated outcome of every replay that was kept, in their order."""
    found: dict[int, Outcome] = {}
    for policy in POLICIES:
        for session in range(kept.sessions):
            chosen = [i for i, r in enumerate(kept.replays) if (r.policy, r.session) == (policy, session)]
            replays = [programs_of(kept, kept.replays[i]) for i in chosen]
            records = simulate_replays(replays, [engine(saved)], PRESETS[policy]) if replays else []
            found.update(zip(chosen, map(outcome, records), strict=True))
    return [found[i] for i in range(len(kept.replays))]


def programs_of(kept: Run, replayed: Replayed) -> list[Program]:
    """The programs of a replay, at the lengths that the server counted."""
    load = next(load for load in LOADS if load.name == replayed.load)
    prompts = {CallRef(*name.rsplit(":", 1)): tokens for name, tokens in replayed.prompts.items()}
    return resized(load.programs(kept.programs, replayed.repetition), prompts)


def only_simulate(saved: SavedProfile, options: argparse.Namespace) -> None:
    for policy in POLICIES:
        order = [(load, repetition) for repetition in range(options.repetitions) for load in LOADS]
        replays = [load.programs(options.programs, repetition) for load, repetition in order]
        found = simulate_replays(replays, [engine(saved)], PRESETS[policy])
        for (load, repetition), records in zip(order, found, strict=True):
            say(line(load.name, policy, repetition, outcome(records)))


# --- reports ------------------------------------------------------------------------------------------------------------


def report(kept: Run, saved: SavedProfile) -> str:
    """The tables, in Markdown."""
    simulated = twins(kept, saved)
    lines = [profile_line(saved), ""]
    for load in LOADS:
        real, virtual = sides(kept, simulated, load)
        for policy, outcomes in real.items():
            found = verdicts(outcomes, virtual[policy])
            lines += [f"## {load.name}, {policy}, {len(outcomes)} repetitions", ""]
            lines += markdown(table.HEAD, map(table.verdict_cells, found))
        pairs = ranking(real, virtual)
        if pairs:
            lines += [f"## {load.name}: the order of presets", ""]
            lines += markdown(table.RANKING_HEAD, map(table.pair_cells, pairs))
    return "\n".join(lines) + "\n"


def sides(
    kept: Run, simulated: Sequence[Outcome], load: Load
) -> tuple[dict[str, list[Outcome]], dict[str, list[Outcome]]]:
    """Of one load: what was measured and what was simulated, by policy; the repetitions that every policy has."""
    found: dict[str, dict[int, tuple[Outcome, Outcome]]] = {policy: {} for policy in POLICIES}
    for replayed, twin in zip(kept.replays, simulated, strict=True):
        if replayed.load == load.name:
            found[replayed.policy][replayed.repetition] = replayed.real, twin
    whole = sorted(set.intersection(*(set(each) for each in found.values())))
    if not whole:
        return {}, {}
    return (
        {policy: [each[repetition][0] for repetition in whole] for policy, each in found.items()},
        {policy: [each[repetition][1] for repetition in whole] for policy, each in found.items()},
    )


def against_programs(kept: benchmark.Run, saved: SavedProfile) -> str:
    """The benchmark of programs beside its simulation, with other programs in each repetition."""
    arms = {
        benchmark.STOCK: ("vllm", False),
        benchmark.OURS: ("agentserve", True),
        benchmark.BARE: ("agentserve", False),
    }
    lines = [profile_line(saved), ""]
    for name, (policy, plugin) in arms.items():
        results = [result for result in kept.results if result.arm == name]
        if not results:
            continue
        replays = [replayed_programs(kept, result, number) for number, result in enumerate(results)]
        records = simulate_replays(replays, [engine(saved, plugin=plugin)], PRESETS[policy])
        simulated = [told_of(outcome(each)) for each in records]
        for load in sorted({result.load for result in results}):
            chosen = [i for i, result in enumerate(results) if result.load == load]
            found = verdicts([figures_of(results[i]) for i in chosen], [simulated[i] for i in chosen], repeated=False)
            lines += [f"## {load} L, {name}, {len(chosen)} repetitions", ""]
            lines += markdown(table.HEAD, map(table.verdict_cells, found))
    return "\n".join(lines) + "\n"


def replayed_programs(kept: benchmark.Run, result: benchmark.Result, number: int) -> list[Program]:
    """The programs of one replay, under names of their own: that benchmark replays some of them at several loads."""
    seed = result.repetition + 1
    drawn = poisson(generate(SMALL, kept.programs, seed), result.load * kept.rate, seed)
    return named([program for program in drawn if program.id in result.completions], f"~{number}")


def figures_of(result: benchmark.Result) -> Outcome:
    completions = list(result.completions.values())
    return Outcome(
        mean_completion=fmean(completions),
        p95_completion=percentile(completions, 0.95),
        mean_ttft=result.mean_ttft,
        cached_share=result.cached_share,
        makespan=result.makespan,
    )


def told_of(simulated: Outcome) -> Outcome:
    """Of a simulated outcome what that benchmark tells of a real one."""
    return replace(simulated, first_ttft=None, later_ttft=None, first_hold=None, later_hold=None)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def profile_line(saved: SavedProfile) -> str:
    profile, about = saved.profile, saved.measured
    overhead = 0.0 if about is None else about.request_overhead
    errors = {} if about is None else about.fit
    told = ", ".join(f"{regime} {error.median:.1%}" for regime, error in errors.items())
    return (
        f"Profile {profile.name}: a step {1000 * profile.constant:.1f} ms, a prefilled token "
        f"{1e6 * profile.prefill_token:.0f} us, a decoding request {1000 * profile.decode_request:.2f} ms, 1,000 tokens "
        f"of its context {1e6 * profile.decode_context:.2f} ms, a request {1000 * overhead:.0f} ms outside the engine; "
        f"median errors of the fit: {told}."
    )


def line(load: str, policy: str, repetition: int, found: Outcome) -> str:
    figures = "  ".join(f"{figure.title.strip()} {figure.write(figure.of(found))}" for figure in FIGURES[:4])
    return f"{load:<15} #{repetition} {policy:<10} {figures}"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the run is kept")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    parser.add_argument("--report", type=Path, help="print the tables of a run and measure nothing")
    parser.add_argument("--only-simulate", action="store_true", help="print what the simulator says, without engines")
    parser.add_argument(
        "--from", type=Path, dest="programs_json", help="compare with a run of the benchmark of programs"
    )
    parser.add_argument("--profile", type=Path, help="instead of the shipped one, for --only-simulate and --from")
    parser.add_argument("--records", type=Path, help="a folder for the records of every call")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--programs", type=int, default=10)
    options = parser.parse_args()
    saved = SHIPPED if options.profile is None else read_profile(options.profile)
    if options.report:
        say(report(Run.load(options.report), read_profile(profile_path(options.report))))
    elif options.only_simulate:
        only_simulate(saved, options)
    elif options.programs_json:
        say(against_programs(benchmark.Run.load(options.programs_json), saved))
    elif options.json:
        prepare(options)
        kept = run_interruptibly(measure(options))
        text = report(kept, read_profile(profile_path(options.json)))
        options.json.with_suffix(".md").write_text(f"# The simulator against a real vLLM\n\n`{kept.command}`\n\n{text}")
        say(text)
    else:
        parser.error("--json says where to keep the run")


if __name__ == "__main__":
    main()
