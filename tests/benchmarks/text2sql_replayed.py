"""The programs of a real Text-to-SQL benchmark on two modelled engines: what unequal speed alone makes of them.

The engines are the measured `cpu-smollm2` on one core, and the same at 0.4 of its speed. Nobody tells the scheduler their
speed, and answers come in one piece, as the agent has them. Programs are drawn from a benchmark's runs, prompts, cached
templates, answers and revisions as they were; the load is what round robin ends a second when 100 are there at once.
Ratios are round robin over agentserve, by repetition.

    python -m tests.benchmarks.text2sql_replayed docs/results/text2sql-real.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from random import Random

from agentserve.text2sql.arms import BASELINE, OURS, Arm
from scheduler.brain import Brain, Decision
from scheduler.events import CallFirstToken, EngineUp, Event, Wakeup
from scheduler.policy import parse_policy
from simulator.fleet import EngineModel, parse_fleet
from simulator.intervals import paired_ratio
from simulator.trace import check_fits
from simulator.world import World
from tests.benchmarks.text2sql_real import RUNS
from workloads.program import Call, Edge, Program, Said, SharedPrefix
from workloads.records import percentile
from workloads.text2sql.agent import WORKFLOW, StageCall
from workloads.text2sql.load import Played, arrivals
from workloads.text2sql.prompts import Stage

CORE, SHARE = 1.6, 0.4
"""How much longer a step takes on one core than on two, and the slow engine's speed."""
AT_ONCE = 100


class Unseen(Brain):
    """A brain that knows of engines and answers what it would of unmeasured ones that answer in one piece."""

    def handle(self, event: Event) -> Decision:
        if isinstance(event, EngineUp):
            event = replace(event, spec=replace(event.spec, cost=None))
        return super().handle(Wakeup(event.at) if isinstance(event, CallFirstToken) else event)


def engine(name: str, slower: float) -> EngineModel:
    """The measured engine with steps that take so much longer."""
    measured = parse_fleet("cpu-smollm2:kv16384:len2048")[0]
    terms = ("constant", "prefill_token", "prefill_attention", "decode_request", "decode_context")
    steps = {term: slower * getattr(measured.profile, term) for term in terms}
    return replace(measured, name=name, profile=replace(measured.profile, **steps))


FLEET = (engine("fast", CORE), engine("slow", CORE / SHARE))


def program(played: Played, name: str, at: float) -> Program:
    """A question's calls, side by side where they were."""
    calls: list[Call] = []
    before: tuple[Edge, ...] = ()
    for _, beside in groupby(played.calls, lambda call: (call.stage, call.began)):
        together = [step(call, number, before, len(calls) + number) for number, call in enumerate(beside)]
        calls += together
        before = tuple(Edge(call.id) for call in together)
    calls[-1] = replace(calls[-1], said=Said(final=True))
    return Program(name, at, tuple(calls), workflow=WORKFLOW)


def step(call: StageCall, number: int, before: tuple[Edge, ...], place: int) -> Call:
    """A call behind its stage's template, of which candidates have one each."""
    template = max(1, int(call.prompt * call.template_share))
    shared = f"{call.stage}/{number if call.stage == Stage.CANDIDATE else 0}"
    prefix = (SharedPrefix(shared, template),)
    return Call(str(place), call.prompt - template, max(1, call.output), before, prefix=prefix, stage=call.stage)


def drawn(played: Sequence[Played], times: Sequence[float], seed: int) -> list[Program]:
    """A program for each time, of questions that are drawn."""
    rng = Random(seed)
    return [program(rng.choice(played), f"q{number}", at) for number, at in enumerate(times)]


def simulated(programs: Sequence[Program], arm: Arm, seed: int) -> tuple[float, float]:
    """The P95 of the latencies, and when the last program ended."""
    policy = parse_policy(arm.policy)
    world = World(check_fits(programs, FLEET), FLEET, Unseen(policy, seed=seed), seed=seed)
    world.run()
    found = world.ledger.simulation(policy.name, seed).programs
    return percentile([each.completion for each in found], 0.95), max(each.finished for each in found)


def compared(played: Sequence[Played], rate: float, count: int, seeds: int) -> Iterator[tuple[float, float]]:
    """The P95 on both sides, by repetition."""
    for seed in range(seeds):
        programs = drawn(played, arrivals(count, rate, seed), seed)
        yield simulated(programs, BASELINE, seed)[0], simulated(programs, OURS, seed)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="what tests.benchmarks.text2sql_real has kept")
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    played = [each for run in RUNS.read(options.runs) for each in run.played if each.calls]
    saturation = AT_ONCE / simulated(drawn(played, [0.0] * AT_ONCE, 0), BASELINE, 0)[1]
    sys.stdout.write(f"round robin ends {saturation:.3f} a second of {AT_ONCE} at once\n")
    for load in (0.5, 1.0):
        pairs = list(compared(played, load * saturation, options.questions, options.seeds))
        found = paired_ratio([first for first, _ in pairs], [last for _, last in pairs])
        sys.stdout.write(f"load {load}: P95 ratio {found or 'unknown'}\n")


if __name__ == "__main__":
    main()
