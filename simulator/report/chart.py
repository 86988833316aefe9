"""Charts as figures that need no script: a plot that stretches to any width, with text beside it that does not.

Every plot is an SVG of `COLUMNS` columns whose height in units is its height on the screen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from simulator.report.axis import Axis, Tick

COLUMNS = 4000
"""A plot's resolution in time: shorter things are shown only if a column's middle falls into them."""
MIN_PITCH, MAX_PITCH = 3, 18
LINE = 14
"""The height of a line of text beside a chart."""
COLOURS = 8
MAX_STEPS = 500
"""Steps of a distribution's curve."""
_EDGE = ' class="edge"'
"""A text at the right edge of a plot, which must not hang over it."""


class Bar(NamedTuple):
    """A stretch of a row, in seconds. `style` is its class in the style sheet, `detail` what is said of it alone."""

    start: float
    end: float
    style: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BarRow:
    """A row of a chart: the name it is told by, and the short label beside it."""

    name: str
    label: str
    bars: Sequence[Bar]


class Point(NamedTuple):
    """A value that holds from `x` to the next point's."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line of steps, in order of x."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Area:
    """What is filled between the tops of the area before it, or 0, and its own; `style` as of a `Bar`."""

    name: str
    style: str
    tops: Sequence[Point]


def bars(rows: Sequence[BarRow], styles: Mapping[str, str], x: Axis, height: int, label: str, caption: str) -> str:
    """A row of coloured stretches for each of the rows, about `height` high if rows of a readable size allow it.

    `styles` names the bars' styles; where bars overlap, the one whose style comes later is seen.
    """
    pitch = min(max(height // max(len(rows), 1), MIN_PITCH), MAX_PITCH)
    height = max(len(rows), 1) * pitch
    every = -(-LINE // pitch)
    names = [Tick((index + 0.5) / len(rows), rows[index].label) for index in range(0, len(rows), every)]
    paths = "".join(_bar_paths(rows, styles, x, pitch))
    data = f' data-seconds="{x.high:g}" data-rows="{escape(json.dumps([row.name for row in rows]))}"'
    body = f'{_grid(x.ticks(), [], height)}<g stroke-width="{max(pitch - pitch // 4, 2)}">{paths}</g><path class="cursor"/>'
    tail = f"<output></output>{_caption(caption)}"
    return _figure(
        "bars", f' tabindex="0" role="group" aria-label="{escape(label)}"{data}', body, height, names, x, tail
    )


def curves(found: Sequence[Curve], x: Axis, y: Axis, height: int, label: str, caption: str) -> str:
    """Lines of steps over each other; the colours are those of `curve_styles`."""
    styles = curve_styles(curve.name for curve in found)
    paths = "".join(
        f'<path class="curve {style}" d="{_steps(curve.points, x, y, height)}"><title>{escape(curve.name)}</title></path>'
        for style, curve in zip(styles, found, strict=True)
    )
    return _plot(paths, x, y, height, label, caption)


def areas(found: Sequence[Area], x: Axis, y: Axis, height: int, label: str, caption: str) -> str:
    """Areas stacked on each other."""
    paths = "".join(
        f'<path class="area {area.style}" d="{_steps(area.tops, x, y, height)}V{height}H{x.place(area.tops[0].x) * COLUMNS:.0f}Z">'
        f"<title>{escape(area.name)}</title></path>"
        for area in reversed(found)
    )
    return _plot(paths, x, y, height, label, caption)


def distribution(times: Sequence[float]) -> Iterator[Point]:
    """The distribution of sorted times in per cent, at no more than `MAX_STEPS` ranks, the last among them."""
    steps = min(len(times), MAX_STEPS)
    yield Point(times[0], 0.0)
    for step in range(1, steps + 1):
        rank = -(-step * len(times) // steps)
        yield Point(times[rank - 1], 100 * rank / len(times))


def legend(styles: Mapping[str, str]) -> str:
    """Names beside the colours of their styles."""
    items = "".join(f'<li><i class="{style}"></i>{escape(name)}</li>' for style, name in styles.items())
    return f'<ul class="legend">{items}</ul>'


def curve_styles(names: Iterable[str]) -> dict[str, str]:
    """The styles that curves of these names have in this order: a colour each, dashed when they come round again."""
    return {f"s{index % COLOURS}{' dashed' * (index // COLOURS)}": name for index, name in enumerate(names)}


def _plot(paths: str, x: Axis, y: Axis, height: int, label: str, caption: str) -> str:
    rungs = [Tick(1 - place, text) for place, text in y.ticks(max(height // 40, 2))]
    body = _grid(x.ticks(), rungs, height) + paths
    return _figure("curves", f' role="img" aria-label="{escape(label)}"', body, height, rungs, x, _caption(caption))


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _figure(kind: str, attributes: str, body: str, height: int, y: Sequence[Tick], x: Axis, tail: str) -> str:
    return (
        f'<figure class="{kind}"{attributes}>'
        f'<div class="y" aria-hidden="true">{_texts(y, "top")}</div><div class="plot">'
        f'<svg viewBox="0 0 {COLUMNS} {height}" height="{height}" preserveAspectRatio="none">{body}</svg></div>'
        f'<div class="x" aria-hidden="true">{_texts(x.ticks(), "left")}</div>{tail}</figure>'
    )


def _texts(ticks: Iterable[Tick], side: str) -> str:
    return "".join(
        f'<span style="{side}:{100 * place:.2f}%"{_EDGE if side == "left" and place > 0.97 else ""}>{escape(text)}</span>'
        for place, text in ticks
    )


def _grid(x: Iterable[Tick], y: Iterable[Tick], height: int) -> str:
    upright = "".join(f"M{place * COLUMNS:.0f} 0V{height}" for place, _ in x)
    level = "".join(f"M0 {place * height:.1f}H{COLUMNS}" for place, _ in y)
    return f'<path class="grid" d="{upright}{level}"/>'


def _bar_paths(rows: Sequence[BarRow], styles: Mapping[str, str], x: Axis, pitch: int) -> Iterable[str]:
    """A path for all bars that look and say the same."""
    found: dict[str, dict[str, list[str]]] = {style: {} for style in styles}
    for index, row in enumerate(rows):
        middle = f"{(index + 0.5) * pitch:g}"
        for bar in row.bars:
            first, last = (round(x.place(at) * COLUMNS) for at in (bar.start, bar.end))
            if last > first:
                found[bar.style].setdefault(bar.detail, []).append(f"M{first} {middle}H{last}")
    for style, details in found.items():
        for detail, parts in details.items():
            title = f"<title>{escape(detail)}</title>" if detail else ""
            yield f'<path class="{style}" data-what="{escape(styles[style])}" d="{"".join(parts)}">{title}</path>'


def _steps(points: Sequence[Point], x: Axis, y: Axis, height: int) -> str:
    parts: list[str] = []
    for point in points:
        if point.x > x.high:
            break
        across, down = f"{x.place(point.x) * COLUMNS:.0f}", f"{(1 - y.place(point.y)) * height:.1f}"
        parts.append(f"H{across}V{down}" if parts else f"M{across} {down}")
    return "".join(parts)
