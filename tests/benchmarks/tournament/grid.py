"""What a tournament is played on: workloads, fleets, levels of load, and the cells that cover them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from simulator.fleet import EngineModel, parse_fleet
from simulator.trace import families
from simulator.tune.resample import Family
from tests.benchmarks.drawing import RULES, Workload
from workloads import traces
from workloads.distributions import Geometric, LogNormal, Uniform, UniformInt
from workloads.generate import SWE_AGENT, WEB_SEARCH, Profile, generate
from workloads.program import Said

MODEL = "llama-3.1-8b"
LEVELS = (0.3, 0.7, 1.0, 1.5)
CONTEXT = 131_072
CHAT = Profile(
    name="chat",
    turns=UniformInt(1, 4),
    gap_s=LogNormal(40, 1.0, cut=600),
    first=LogNormal(200, 0.9, cut=4000),
    result=LogNormal(60, 0.9, cut=2000),
    output=LogNormal(250, 0.8, cut=2000),
    tools=("human",),
)
"""Short talks with a person, whose pauses are long. Plausible, and not measured."""


def _generated(*profiles: Profile) -> Callable[[Path], Sequence[Family]]:
    def pool(_: Path) -> Sequence[Family]:
        return [(program,) for profile in profiles for program in generate(profile, 600, 17, CONTEXT)]

    return pool


def _sessions(gaps: traces.Gaps, *, children: bool = False) -> Callable[[Path], Sequence[Family]]:
    def pool(folder: Path) -> Sequence[Family]:
        read = traces.load(folder / "weka-claude-code", context_tokens=CONTEXT, gaps=gaps)
        found = [tuple(family) for family in families(read)]
        return [family for family in found if len(family) > 1] if children else found

    return pool


def _queries(folder: Path) -> Sequence[Family]:
    return [(program,) for program in traces.load(folder / "text2sql", context_tokens=CONTEXT)]


def _mix(folder: Path) -> Sequence[Family]:
    """Equal shares of every kind but the long sessions, of which there are fewer."""
    rng = Random("mix")
    sessions = _sessions("redrawn")(folder)
    kinds = (_generated(SWE_AGENT)(folder), _generated(WEB_SEARCH)(folder), _queries(folder), _generated(CHAT)(folder))
    short = [family for kind in kinds for family in rng.choices(kind, k=200)]
    return [*short, *rng.sample(sessions, min(20, len(sessions)))]


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("coding agent", _sessions("recorded"), count=200),
        Workload("coding agent, gaps redrawn", _sessions("redrawn"), count=200),
        Workload("sub-agents", _sessions("redrawn", children=True), count=100),
        Workload("swe agent", _generated(SWE_AGENT)),
        Workload("web search", _generated(WEB_SEARCH)),
        Workload("text-to-sql", _queries),
        Workload("mix", _mix, count=600),
        Workload("bursts", _generated(SWE_AGENT), burst=8.0),
    )
}

SLOW_TOOLS = replace(SWE_AGENT, name="slow_tools", gap_s=LogNormal.with_mean(9.0, sigma=1.5))
MEMORYLESS = replace(SWE_AGENT, name="memoryless", turns=Geometric(10.9))


def _abandoned(folder: Path) -> Sequence[Family]:
    """A quarter of the programs end in the middle of a gap, and none says which call is its last."""
    rng = Random("abandoned")
    found = []
    for (program,) in _generated(SWE_AGENT)(folder):
        kept = rng.randint(1, len(program.calls)) if rng.random() < 0.25 else len(program.calls)
        calls = tuple(replace(call, said=Said(final=False)) for call in program.calls[:kept])
        found.append((replace(program, calls=calls),))
    return found


def _nameless(folder: Path) -> Sequence[Family]:
    """The mix, of programs that do not say what they are."""
    return [tuple(replace(program, workflow="") for program in family) for family in _mix(folder)]


ROBUSTNESS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("gaps ten times as long from the middle on", _generated(SWE_AGENT, SLOW_TOOLS), shifts=True),
        Workload("turns without memory", _generated(MEMORYLESS)),
        Workload(
            "bytes a token off by 2x", _generated(SWE_AGENT), rules=replace(RULES, bytes_per_token=Uniform(2.0, 8.0))
        ),
        Workload("abandoned programs", _abandoned),
        Workload("mix without names", _nameless, count=600),
    )
}
"""What learned figures are of little use for, or wrong."""
ALL: Mapping[str, Workload] = {**WORKLOADS, **ROBUSTNESS}

FLEETS: Mapping[str, str] = {
    "one": "1xA100",
    "four equal": "4xA100",
    "four unequal": "1xH100,1xA100,1xL40S,1xA6000",
    "one, offload": "1xA100:offload1600000",
}
OFFLOAD = "one, offload"
"""Its KV goes to about four times as much memory of the CPU, and comes back over PCIe."""


def fleet(name: str) -> tuple[EngineModel, ...]:
    """The engines of a fleet."""
    return parse_fleet(FLEETS[name], MODEL)


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the grid. `level` is a multiple of the load at which stock vLLM's P95 slowdown is 5."""

    workload: str
    fleet: str
    level: float

    def __str__(self) -> str:
        return f"{self.workload} / {self.fleet} / {self.level:g} L"


def cells(*, whole: bool = False) -> list[Cell]:
    """All cells, or a covering: every workload meets every fleet, and with each of them two levels by turns.

    The covering has each pair of workload and level, and of fleet and level; the offload tier is where memory is short.
    """
    found = []
    for row, workload in enumerate(WORKLOADS):
        for column, name in enumerate(name for name in FLEETS if name != OFFLOAD):
            levels = LEVELS if whole else LEVELS[(row + column) % 2 :: 2]
            found += [Cell(workload, name, level) for level in levels]
        if whole or row % 2 == 0:
            found += [Cell(workload, OFFLOAD, level) for level in (LEVELS if whole else LEVELS[2:])]
    return found


def robustness_cells() -> list[Cell]:
    """Every workload that is hard to predict, on one engine at the loads where it matters; with the offload tier, where
    most programs are in memory at once, the one without names too."""
    one = [Cell(workload, "one", level) for workload in ROBUSTNESS for level in LEVELS[2:]]
    return one + [Cell("mix without names", OFFLOAD, level) for level in LEVELS[2:]]


def pools(folder: Path, cache: Path) -> Path:
    """A file with the pool of every workload, made once: reading the sessions takes half a minute."""
    file = cache / "pools.pickle"
    made = pickle.loads(file.read_bytes()) if file.exists() else {}
    missing = [name for name in ALL if name not in made]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        made.update({name: list(ALL[name].pool(folder)) for name in missing})
        file.write_bytes(pickle.dumps(made, pickle.HIGHEST_PROTOCOL))
    return file
