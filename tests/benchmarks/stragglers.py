"""What knowing stragglers is worth, in the simulator: four equal engines, one of which takes three times as long.

    python -m tests.benchmarks.stragglers [--seeds 3] [--programs 300] [--json docs/results/stragglers.json]

The scheduler is told that all four are alike. The same programs are played with all four alike too, where knowing
stragglers must cost nothing. The load is what three and a third engines of four complete at 85 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from scheduler.policy import PRESETS, Choice, PolicyConfig
from simulator.client import ClientRules
from simulator.fleet import parse_fleet
from simulator.intervals import paired_ratio
from simulator.world import simulate
from workloads.arrivals import poisson
from workloads.generate import SWE_AGENT, WEB_SEARCH, Profile, generate

MODEL = "llama-3.1-8b"
FLEETS = {"all alike": "4xA100", "one straggles": "3xA100,1xA100:slow3"}
LOADS: Sequence[tuple[Profile, float]] = ((SWE_AGENT, 0.33), (WEB_SEARCH, 0.48))
"""Programs a second: 0.7 of the load that four equal engines with stock vLLM bear (docs/results/tournament-loads.json)."""
OURS = PRESETS["agentserve"]
CONTENDERS: dict[str, PolicyConfig] = {
    "agentserve": OURS,
    "agentserve, stragglers not noted": replace(OURS, placement=Choice("least_delay", (("stragglers", False),))),
    **{name: PRESETS[name] for name in ("vllm", "fcfs_ttl", "vllm_router")},
}
RULES = ClientRules(announce_end=True)


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet and workload under one policy, a figure for each seed."""

    workload: str
    fleet: str
    contender: str
    means: list[float]
    """Mean completion in seconds."""


def play(profile: Profile, rate: float, fleet: str, contender: str, programs: int, seed: int) -> float:
    """Mean completion of one replay."""
    drawn = poisson(generate(profile, programs, seed, 131_072), rate, seed)
    result = simulate(drawn, parse_fleet(FLEETS[fleet], MODEL), CONTENDERS[contender], seed=seed, rules=RULES)
    return fmean(program.completion for program in result.programs)


def table(rows: Sequence[Row]) -> str:
    """Each contender's mean completion over ours, as a Markdown table."""
    ours = {(row.workload, row.fleet): row.means for row in rows if row.contender == "agentserve"}
    lines = ["| workload | fleet | contender | mean completion (s) | over agentserve's |", "|---|---|---|---|---|"]
    for row in rows:
        ratio = paired_ratio(row.means, ours[row.workload, row.fleet])
        lines.append(f"| {row.workload} | {row.fleet} | {row.contender} | {fmean(row.means):.1f} | {ratio} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays all, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    for profile, rate in LOADS:
        for fleet in FLEETS:
            for contender in CONTENDERS:
                means = [
                    play(profile, rate, fleet, contender, options.programs, seed)
                    for seed in range(1, options.seeds + 1)
                ]
                rows.append(Row(profile.name, fleet, contender, means))
                sys.stderr.write(f"{profile.name} / {fleet} / {contender}: {fmean(means):.1f} s\n")
    sys.stdout.write(table(rows) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
