"""Lines over a common axis as an SVG, for the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from simulator.report.axis import Axis

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 380, 60, 210, 40, 44
COLORS = ("#2b6cb0", "#c77f2a", "#2f855a", "#9b2c2c", "#6b46c1", "#718096", "#b7791f", "#2c7a7b")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lines:
    """What is drawn: points by the name of their line, and the axes that they stand on."""

    title: str
    x: Axis
    y: Axis
    x_title: str
    lines: Mapping[str, Points]
    marks: Mapping[str, float]
    """Upright lines at some places of the x axis, by what they mark."""

    def svg(self) -> str:
        """The picture."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="22" font-size="14">{escape(self.title)}</text>',
            *self._grid(),
            *self._marks(),
            *self._lines(),
            "</svg>",
            "",
        ]
        return "\n".join(parts)

    def _grid(self) -> Iterator[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for place, text in self.y.ticks(6):
            y = bottom - place * (bottom - TOP)
            yield f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for place, text in self.x.ticks():
            x = LEFT + place * (right - LEFT)
            yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(text)}</text>'
        yield f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.x_title)}</text>'

    def _marks(self) -> Iterator[str]:
        for name, value in self.marks.items():
            x = self._x(value)
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#888" stroke-dasharray="4 3"/>'
            yield f'<text x="{x + 4:.1f}" y="{TOP + 12}" fill="#555">{escape(name)}</text>'

    def _lines(self) -> Iterator[str]:
        for number, (name, points) in enumerate(self.lines.items()):
            color = COLORS[number % len(COLORS)]
            for (x1, y1), (x2, y2) in pairwise(points):
                yield (
                    f'<line x1="{self._x(x1):.1f}" y1="{self._y(y1):.1f}" x2="{self._x(x2):.1f}" y2="{self._y(y2):.1f}" '
                    f'stroke="{color}" stroke-width="2"/>'
                )
            y = TOP + 16 * number + 10
            yield f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 9}" width="12" height="4" fill="{color}"/>'
            yield f'<text x="{WIDTH - RIGHT + 32}" y="{y - 3}">{escape(name)}</text>'

    def _x(self, value: float) -> float:
        return LEFT + self.x.place(value) * (WIDTH - RIGHT - LEFT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
