"""How fast the simulator is: calls a second on one core, SimPy events a call, and who takes the time.

    python -m tests.benchmarks.simulator_speed [--json FILE] [--traces FOLDER] [--rust PYTHON] [--loads NAME,...]

Loads: `chains` (coding agents with contexts of up to 100k tokens), `short` (calls of a few hundred tokens in stages,
as Text-to-SQL), `mooncake`, `sessions` and `text2sql` (public traces, where the folder has them), and `million`, only
if it is named: a million short calls, streamed. Each replay has a process of its own, for its memory. With `--rust`,
the Mooncake trace is replayed by ai-dynamo's offline replay too, by turns, by the Python that has it installed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from random import Random

from scheduler.policy import PRESETS
from simulator.fleet import EngineModel, parse_fleet
from simulator.world import simulate
from workloads.arrivals import poisson_arrivals
from workloads.distributions import LogNormal, UniformInt
from workloads.generate import SWE_AGENT, generate
from workloads.program import Call, Edge, Program, SharedPrefix
from workloads.traces import load

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
CHAINS = replace(
    SWE_AGENT,
    turns=UniformInt(20, 90),
    gap_s=LogNormal.with_mean(9.0, sigma=1.5),
    first=LogNormal(25_000, 0.6, cut=60_000),
    result=LogNormal(700, 0.9, cut=8000),
    output=LogNormal(216, 0.7, cut=2000),
)
RUST = """
import json, sys, time
from dynamo.replay import run_trace_replay
start = time.perf_counter()
run_trace_replay(sys.argv[1], num_workers=int(sys.argv[2]), replay_mode="offline", trace_block_size=512,
                 router_mode="kv_router")
print(json.dumps(time.perf_counter() - start))
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """What one replay took on one core. Shares are of the wall time; the world is what is neither of the others."""

    load: str
    policy: str
    engines: int
    calls: int
    calls_per_s: float
    events_per_call: float
    brain_events_per_call: float
    steps_per_call: float
    brain_share: float
    engine_share: float
    world_share: float
    brain_us_per_event: float
    peak_mb: float
    """Of the process, programs included."""


@dataclass(frozen=True, slots=True)
class Load:
    """Programs, and the fleet they run on."""

    fleet: tuple[EngineModel, ...]
    programs: Callable[[], Iterable[Program]]
    streamed: bool = False
    """Programs are made as they arrive, which then counts as time of the world."""


def chains(programs: int = 60) -> Iterator[Program]:
    """Coding agents whose contexts grow to 100k tokens; 97 % of a prompt is the one before."""
    return poisson_arrivals(generate(CHAINS, programs, 1, context_tokens=100_000), 0.02, 1)


def stages(programs: int = 400) -> Iterator[Program]:
    """Queries of short calls: three in parallel, two candidates, revisions one after the other, a choice."""
    return poisson_arrivals((_query(number) for number in range(programs)), 2.0, 1)


def _query(number: int) -> Program:
    rng = Random(f"query/{number}")
    calls: list[Call] = []

    def add(stage: str, after: Iterable[Call]) -> Call:
        edges = tuple(Edge(call.id) for call in after)
        template = (SharedPrefix(stage, 400),)
        output = rng.randint(20, 120)
        calls.append(Call(str(len(calls)), rng.randint(100, 900), output, edges, prefix=template, stage=stage))
        return calls[-1]

    found = [add("retrieve", ()) for _ in range(3)]
    candidates = [add("candidate", found) for _ in range(2)]
    last = candidates
    for _ in range(rng.choice((0, 0, 1, 3))):
        last = [add("revise", last)]
    add("select", [add("evaluate", last) for _ in range(2)])
    return Program(f"q{number}", 0.0, tuple(calls), workflow="text2sql")


def loads(traces: Path) -> Mapping[str, Load]:
    """What there is to measure."""
    h100 = partial(parse_fleet, model="llama-3.1-8b")
    known = {
        "chains": Load(h100("4xH100"), chains),
        "short": Load(h100("2xH100"), stages),
        "million": Load(h100("2xH100"), partial(stages, 112_000), streamed=True),
    }
    mooncake, sessions = traces / "mooncake-fast25", traces / "weka-claude-code" / "sessions.tar.xz"
    if (traces / "text2sql").exists():
        known["text2sql"] = Load(h100("2xH100"), partial(_queries, traces / "text2sql"))
    if mooncake.exists():
        known["mooncake"] = Load(h100("4xH100"), partial(load, mooncake, context_tokens=120_000))
    if sessions.exists():
        known["sessions"] = Load(h100("8xH100"), partial(_sessions, sessions))
    return known


def _sessions(path: Path) -> Iterator[Program]:
    """All coding sessions with their children, a new one every 20 s on average."""
    return poisson_arrivals(load(path, context_tokens=120_000, gaps="redrawn"), 0.05, 1)


def _queries(folder: Path) -> Iterator[Program]:
    """The queries of the public trace ten times over, under other names."""
    queries = list(load(folder, context_tokens=120_000))
    copies = (replace(query, id=f"{query.id}/{copy}") for copy in range(10) for query in queries)
    return poisson_arrivals(copies, 1.0, 1)


def measure(name: str, traces: Path, policy: str) -> Speed:
    """Replays a load once. Reading it is not counted."""
    load = loads(traces)[name]
    programs = load.programs() if load.streamed else list(load.programs())
    simulation = simulate(iter(programs), load.fleet, PRESETS[policy], seed=1)
    cost, calls = simulation.cost, sum(program.calls for program in simulation.programs)
    brain, engines = cost.brain / cost.wall, cost.engines / cost.wall
    return Speed(
        load=name,
        policy=policy,
        engines=len(load.fleet),
        calls=calls,
        calls_per_s=calls / cost.wall,
        events_per_call=cost.events / calls,
        brain_events_per_call=cost.brain_events / calls,
        steps_per_call=cost.engine_steps / calls,
        brain_share=brain,
        engine_share=engines,
        world_share=1 - brain - engines,
        brain_us_per_event=1e6 * cost.brain / cost.brain_events,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def rust(python: str, trace: Path, workers: int) -> float:
    """Calls per second of ai-dynamo's offline replay on a Mooncake trace.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on stderr.
    """
    calls = sum(1 for line in trace.open("rb") if line.strip())
    command = [python, "-c", RUST, str(trace), str(workers)]
    quiet = {**os.environ, "DYN_LOG": "error"}  # else it writes a line for every call
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=quiet)
    return calls / float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--rust", metavar="PYTHON")
    parser.add_argument("--loads")
    parser.add_argument("--policies", default="vllm,agentserve")
    parser.add_argument("--repetitions", type=int, default=1)
    options = parser.parse_args()
    usual = [name for name in loads(options.traces) if name != "million"]
    chosen = options.loads.split(",") if options.loads else usual
    found: list[dict[str, object]] = []
    rusts: dict[int, list[float]] = {}
    runs = [(name, policy) for name in chosen for policy in options.policies.split(",")] * options.repetitions
    for name, policy in runs:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            speed = process.submit(measure, name, options.traces, policy).result()
        found.append(asdict(speed))
        sys.stdout.write(
            f"{name:10} {policy:11} {speed.calls_per_s:8,.0f} calls/s  {speed.events_per_call:5.1f} events/call  "
            f"brain {speed.brain_share:.0%} ({speed.brain_events_per_call:.1f} events/call, "
            f"{speed.brain_us_per_event:.1f} us each)  engines {speed.engine_share:.0%} "
            f"({speed.steps_per_call:.1f} steps/call)  world {speed.world_share:.0%}  peak {speed.peak_mb:,.0f} MB\n"
        )
        sys.stdout.flush()
        if options.rust and name == "mooncake":
            trace = next(islice((options.traces / "mooncake-fast25").glob("*.jsonl"), 1))
            for workers in (4, 8):
                rusts.setdefault(workers, []).append(rust(options.rust, trace, workers))
                sys.stdout.write(f"mooncake   rust replay, {workers} workers: {rusts[workers][-1]:,.0f} calls/s\n")
    if options.json is not None:
        options.json.write_text(json.dumps({"loads": found, "rust_calls_per_s": rusts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
