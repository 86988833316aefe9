"""The tournament as a picture: each contender's gain over stock vLLM in every cell, and its mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from statistics import fmean

from tests.benchmarks.tournament.play import STOCK, Game
from tests.benchmarks.tournament.report import OURS, Table, ratios
from tests.benchmarks.tournament.score import Score

WIDTH, LEFT, ROW, TOP = 860, 160, 26, 56
LOW, HIGH = 0.25, 32.0
"""Gains at the left and right edge; what lies beyond is drawn there."""
COLORS = {1.0: "#c77f2a", 1.5: "#2b6cb0"}
"""By load, of those that are drawn."""


def picture(scores: Mapping[Game, Score | None]) -> str:
    """An SVG of the loads at which memory is short: a row a contender, a dot a cell, a bar at the geometric mean."""
    table = Table(scores).whole()
    names = dict.fromkeys(name for cell in table.cells for name in (OURS, *table.rivals(cell)))
    found = {name: {level: ratios(table, STOCK, name, level) for level in COLORS} for name in names}
    rows = sorted(found, key=lambda name: -fmean(math.log(gain) for level in found[name].values() for gain in level))
    height = TOP + ROW * len(rows) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_legend(),
        *_axis(height),
    ]
    for number, name in enumerate(rows):
        lines += _row(name, found[name], TOP + ROW * number)
    return "\n".join([*lines, "</svg>", ""])


def _legend() -> Iterator[str]:
    yield f'<text x="{LEFT}" y="18" font-size="14">Mean completion of stock vLLM over theirs (right is better)</text>'
    for number, (level, color) in enumerate(COLORS.items()):
        x = LEFT + 110 * number
        yield f'<circle cx="{x + 4}" cy="34" r="4" fill="{color}"/><text x="{x + 14}" y="38">{level:g} L</text>'


def _axis(height: int) -> Iterator[str]:
    for gain in (0.5, 1, 2, 4, 8, 16):
        x = _x(gain)
        color = "#888" if gain == 1 else "#ddd"
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 24}" stroke="{color}"/>'
        yield f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{gain:g}x</text>'


def _row(name: str, levels: Mapping[float, list[float]], top: int) -> Iterator[str]:
    weight = ' font-weight="bold"' if name == OURS else ""
    yield f'<text x="{LEFT - 10}" y="{top + 14}" text-anchor="end"{weight}>{escape(name)}</text>'
    for number, (level, found) in enumerate(levels.items()):
        y = top + 6 + 8 * number
        for gain in found:
            yield f'<circle cx="{_x(gain):.1f}" cy="{y}" r="3.2" fill="{COLORS[level]}" fill-opacity="0.45"/>'
        if found:
            x = _x(math.exp(fmean(map(math.log, found))))
            yield f'<rect x="{x - 1.5:.1f}" y="{y - 5}" width="3" height="10" fill="{COLORS[level]}"/>'


def _x(gain: float) -> float:
    share = math.log(min(max(gain, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + share * (WIDTH - LEFT - 20)
