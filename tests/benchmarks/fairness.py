"""Two tenants of equal weight in the simulator: who gets how much, and how long a light one waits beside a heavy one.

    python -m tests.benchmarks.fairness [--json docs/results/fairness.json] [--seeds 3] [--minutes 10]

L is the rate at which the fleet completes the programs of one tenant that are all there at once, from the first fifth
of them to the last.

*Shares*: both tenants are backlogged all the time: each begins with 40 programs, and then one asks for 0.7 L and the
other for 7 L. Service is counted over the
calls that are answered in the run: uncached prompt tokens, output tokens at the price of two, and
KV held in gaps, where holding all of an engine's memory for a second costs what it prefills in one.

*Wait*: a tenant that asks for 0.3, 0.4 or 0.45 L beside one that asks for ten times that, against the same programs
alone on half the engines. A call's wait is the time to its first token.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from heapq import merge
from pathlib import Path

from scheduler.brain import Brain
from scheduler.policy import PRESETS, Choice, PolicyConfig
from simulator.client import ClientRules
from simulator.fleet import EngineModel, parse_fleet
from simulator.ledger import Detail
from simulator.result import CallResult
from simulator.world import World, simulate
from workloads.arrivals import poisson
from workloads.generate import SWE_AGENT, generate
from workloads.program import Program

LIGHT, HEAVY = "light", "heavy"
TENANTS = frozenset({LIGHT, HEAVY})
RULES = ClientRules(tenants=TENANTS)
WHOLE, HALF = "2xA100:kv64000", "1xA100:kv64000"
MODEL = "llama-3.1-8b"
LOADS = (0.3, 0.4, 0.45)
OUTPUT_PRICE = 2.0
KEPT = 0.5
"""A gap in which the context was held: at least so much of it is cached when the program comes back."""
BACKLOG = 40
FLOOD = 200
"""Programs whose rate of completion is L."""
FAIRNESS = {
    "none": Choice("none"),
    "published": Choice(
        "virtual_token_counter", (("cached_weight", 1.0), ("credit", 0.0), ("held_weight", 0.0), ("reserve", 0.0))
    ),
    "virtual_token_counter": Choice("virtual_token_counter"),
}


@dataclass(frozen=True, slots=True)
class Shares:
    """What two backlogged tenants got, in tokens' worth."""

    fairness: str
    seed: int
    light: float
    heavy: float

    @property
    def ratio(self) -> float:
        """The larger service over the smaller."""
        return max(self.light, self.heavy) / min(self.light, self.heavy)

    @property
    def jain(self) -> float:
        """Jain's index: 1 is equal, 0.5 is all for one of two."""
        return (self.light + self.heavy) ** 2 / (2 * (self.light**2 + self.heavy**2))


@dataclass(frozen=True, slots=True)
class Wait:
    """The 95th percentile of the light tenant's waits, in seconds."""

    fairness: str
    seed: int
    load: float
    """What it asks for, in L."""
    beside: float
    alone: float
    heavy: int
    """Calls of the heavy tenant that were answered."""

    @property
    def ratio(self) -> float:
        """How much longer it is beside the heavy tenant."""
        return self.beside / self.alone


def policy(fairness: str) -> PolicyConfig:
    """The default policy with turns between tenants."""
    return replace(PRESETS["agentserve"], fairness=FAIRNESS[fairness])


def programs_of(tenant: str, rate: float, seconds: float, seed: int, backlog: int = 0) -> list[Program]:
    """What a tenant asks for in so many seconds, `backlog` programs of it at once."""
    seed += 1000 * (tenant == HEAVY)
    made = generate(SWE_AGENT, backlog + math.ceil(rate * seconds), seed)
    own = [*made[:backlog], *poisson(made[backlog:], rate, seed)]
    return [replace(program, id=f"{tenant}/{program.id}") for program in own if program.arrival_s <= seconds]


def together(*tenants: Sequence[Program]) -> list[Program]:
    """All their programs, as they arrive."""
    return list(merge(*tenants, key=lambda program: program.arrival_s))


def saturated(seed: int) -> float:
    """L, in programs a second."""
    flood = [replace(program, id=f"{LIGHT}/{program.id}") for program in generate(SWE_AGENT, FLOOD, seed)]
    result = simulate(flood, parse_fleet(WHOLE, MODEL), policy("none"), seed=seed, rules=RULES)
    ends = sorted(program.finished for program in result.programs)
    first, last = FLOOD // 5, 4 * FLOOD // 5
    return (last - first) / (ends[last] - ends[first])


def calls(programs: Iterable[Program], fleet: str, fairness: str, seed: int, seconds: float) -> tuple[CallResult, ...]:
    """The calls that are answered within so many seconds."""
    brain = Brain(policy(fairness), seed=seed)
    world = World(programs, parse_fleet(fleet, MODEL), brain, seed=seed, rules=RULES, detail=Detail(every=seconds))
    world.run_until(seconds)
    return world.ledger.simulation(fairness, seed).calls


def service(answered: Sequence[CallResult], engine: EngineModel) -> dict[str, float]:
    """Each tenant's service, in tokens' worth."""
    held = engine.profile.prefill_tokens_per_s / engine.config.kv_tokens
    total: defaultdict[str, float] = defaultdict(float)
    last: dict[str, CallResult] = {}
    for call in answered:
        tenant, before = call.program.partition("/")[0], last.get(call.program)
        last[call.program] = call
        total[tenant] += call.prompt - call.cached + OUTPUT_PRICE * call.output
        context = 0 if before is None else before.prompt + before.output
        if before is not None and call.cached >= KEPT * context:
            total[tenant] += held * context * max(0.0, call.arrived - before.finished)
    return total


def shares(fairness: str, seed: int, rate: float, seconds: float) -> Shares:
    """Plays both tenants always backlogged."""
    asked = together(
        programs_of(LIGHT, 0.7 * rate, seconds, seed, BACKLOG), programs_of(HEAVY, 7 * rate, seconds, seed, BACKLOG)
    )
    answered = calls(asked, WHOLE, fairness, seed, seconds)
    got = service(answered, parse_fleet(WHOLE, MODEL)[0])
    return Shares(fairness, seed, got[LIGHT], got[HEAVY])


def wait(fairness: str, seed: int, load: float, rate: float, seconds: float) -> Wait:
    """Plays the light tenant beside the heavy one, and alone on half of the fleet."""
    light = programs_of(LIGHT, load * rate, seconds, seed)
    both = together(light, programs_of(HEAVY, 10 * load * rate, seconds, seed))
    beside, alone = (calls(asked, fleet, fairness, seed, seconds) for asked, fleet in ((both, WHOLE), (light, HALF)))
    heavy = sum(call.program.startswith(f"{HEAVY}/") for call in beside)
    return Wait(fairness, seed, load, _p95(beside), _p95(alone), heavy)


def _p95(answered: Iterable[CallResult]) -> float:
    waits = sorted(call.ttft for call in answered if call.program.startswith(f"{LIGHT}/"))
    return waits[math.ceil(0.95 * len(waits)) - 1]


def show_shares(each: Shares) -> str:
    return f"seed {each.seed} {each.fairness:22} service 1:{each.ratio:.3f}  Jain {each.jain:.4f}"


def show_wait(each: Wait) -> str:
    compared = f"beside {each.beside:.2f} s, alone {each.alone:.2f} s: {each.ratio:.2f}, heavy calls {each.heavy}"
    return f"seed {each.seed} {each.fairness:22} P95 wait at {each.load:g} L {compared}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="Replaces the parts that are measured in this file.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--fairness", default=",".join(FAIRNESS))
    parser.add_argument("--part", choices=("shares", "waits"), help="Both without.")
    options = parser.parse_args()
    seconds, found = 60 * options.minutes, json.loads(options.json.read_text()) if _exists(options.json) else {}
    parts = [options.part] if options.part else ["shares", "waits"]
    for part in parts:
        found[part] = []
    for seed in range(1, options.seeds + 1):
        rate = saturated(seed)
        sys.stdout.write(f"seed {seed} L = {rate:.3f} programs a second\n")
        for fairness in options.fairness.split(","):
            if "shares" in parts:
                share = shares(fairness, seed, rate, seconds)
                found["shares"].append(asdict(share) | {"ratio": share.ratio, "jain": share.jain})
                sys.stdout.write(f"{show_shares(share)}\n")
            for load in LOADS if "waits" in parts else ():
                waited = wait(fairness, seed, load, rate, seconds)
                found["waits"].append(asdict(waited) | {"ratio": waited.ratio})
                sys.stdout.write(f"{show_wait(waited)}\n")
            sys.stdout.flush()
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


if __name__ == "__main__":
    main()
