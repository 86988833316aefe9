"""What the Text-to-SQL benchmark is played on: queries, templates, objectives, and the cells that cover them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from simulator.fleet import parse_fleet
from simulator.tune.resample import Family
from tests.benchmarks.drawing import Workload
from workloads import traces
from workloads.generate import KINDS, generate
from workloads.templates import share_templates

FLEET = parse_fleet("hexgen")
"""Two A100, an A6000 and an L40S, with Llama 3.1 70B in 4 bits."""
CONTEXT = min(engine.config.max_model_len for engine in FLEET)
"""Longer queries are scaled to it: an L40S has room for no more beside the weights."""
COUNT = 150
"""Queries that count."""
WARM_UP = 400
"""Calls before them, from which stages and lengths are learned."""
PUBLIC = ("financial", "trace1")
GENERATED = ("natural", "uniform")
SHARES = (0.0, 0.25, 0.5)
SCALES = (3, 5, 8)
LEVELS = (0.4, 0.7, 1.0, 1.3)
"""Loads that every contender plays, in multiples of what the fleet can serve."""


class Ground(NamedTuple):
    """Queries of one kind, and the share of each prompt that is its stage's template."""

    workload: str
    share: float


class Cell(NamedTuple):
    """A ground, and how many times what it takes alone a query may take."""

    workload: str
    share: float
    scale: int

    def __str__(self) -> str:
        return f"{self.workload} / {self.share:.0%} / {self.scale}x"

    @property
    def ground(self) -> Ground:
        """Where it is played."""
        return Ground(self.workload, self.share)


COVERING = (
    Cell("financial", 0.0, 5),
    Cell("financial", 0.25, 8),
    Cell("financial", 0.5, 3),
    Cell("trace1", 0.0, 8),
    Cell("trace1", 0.25, 3),
    Cell("trace1", 0.5, 5),
    Cell("natural", 0.25, 5),
    Cell("uniform", 0.0, 3),
    Cell("uniform", 0.5, 8),
)
"""Every pair of share and objective once; the generated mixes, which resemble the two traces, have three of the cells."""
PARTS = (COVERING[0], COVERING[4], COVERING[8])
"""Where parts and presets are compared: each share and each objective once."""


def cells(*, whole: bool = False) -> Sequence[Cell]:
    """The covering, or all."""
    if not whole:
        return COVERING
    return [Cell(workload, share, scale) for workload in (*PUBLIC, *GENERATED) for share in SHARES for scale in SCALES]


def pool(ground: Ground, folder: Path) -> Sequence[Family]:
    """The queries that seeds draw from. Public ones are read from that folder."""
    if ground.workload in PUBLIC:
        file = folder / "text2sql" / f"input_file_{ground.workload}.json"
        queries = list(traces.load(file, context_tokens=CONTEXT))
    else:
        queries = generate(KINDS[f"text2sql_{ground.workload}"], 200, 17, CONTEXT)
    return [(query,) for query in share_templates(queries, ground.share)]


def workload(ground: Ground) -> Workload:
    """The ground as seeds draw it."""
    return Workload(f"text2sql/{ground.workload}", lambda folder: pool(ground, folder), count=COUNT)
