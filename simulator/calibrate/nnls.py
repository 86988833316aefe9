"""Least squares with coefficients that are not negative, for a handful of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

TOLERANCE = 1e-10
"""A gradient or a pivot below this counts as zero, with columns and target of length one."""


def solve(rows: Sequence[Sequence[float]], target: Sequence[float]) -> list[float]:
    """The x >= 0 that minimises |rows * x - target|, by Lawson and Hanson's active set method.

    A column of zeros, or one that the others make up, gets 0. Source: "Solving Least Squares Problems", 1974, ch. 23.

    Raises:
        ValueError: there are no rows, or not as many as targets.
    """
    if not rows or len(rows) != len(target):
        raise ValueError(f"{len(rows)} rows and {len(target)} targets: there must be as many, and at least one")
    columns = list(zip(*rows, strict=True))
    scales = [sqrt(_dot(column, column)) or 1.0 for column in columns]
    length = sqrt(_dot(target, target)) or 1.0
    gram = [
        [_dot(a, b) / (scale_a * scale_b) for b, scale_b in zip(columns, scales, strict=True)]
        for a, scale_a in zip(columns, scales, strict=True)
    ]
    moment = [_dot(column, target) / (scale * length) for column, scale in zip(columns, scales, strict=True)]
    return [value * length / scale for value, scale in zip(_active_set(gram, moment), scales, strict=True)]


def _active_set(gram: list[list[float]], moment: list[float]) -> list[float]:
    size = len(moment)
    x = [0.0] * size
    free: list[int] = []
    refused: set[int] = set()
    while True:
        slopes = {j: moment[j] - _dot(gram[j], x) for j in range(size) if j not in free and j not in refused}
        best = max(slopes, key=lambda j: slopes[j], default=None)
        if best is None or slopes[best] <= TOLERANCE:
            return x
        wanted = _least_squares(gram, moment, [*free, best])
        if wanted is None or wanted[-1] <= 0:
            refused.add(best)
            continue
        free.append(best)
        refused.clear()
        x, free = _retreat(gram, moment, x, free, wanted)


def _retreat(
    gram: list[list[float]], moment: list[float], x: list[float], free: list[int], wanted: list[float]
) -> tuple[list[float], list[int]]:
    """Goes from x towards the wanted point, and fixes at 0 what would become negative, until nothing would."""
    while min(wanted) <= 0:
        stops = {j: x[j] / (x[j] - value) for j, value in zip(free, wanted, strict=True) if value <= 0}
        step = min(stops.values())
        for j, value in zip(free, wanted, strict=True):
            x[j] += step * (value - x[j])
        blocked = {j for j, stop in stops.items() if stop <= step}
        x = [0.0 if j in blocked else value for j, value in enumerate(x)]
        free = [j for j in free if j not in blocked]
        wanted = _least_squares(gram, moment, free) or []
        if not wanted:
            return x, free
    reached = dict(zip(free, wanted, strict=True))
    return [reached.get(j, 0.0) for j in range(len(x))], free


def _least_squares(gram: list[list[float]], moment: list[float], chosen: list[int]) -> list[float] | None:
    """Solves for the chosen columns by Gaussian elimination; None if one is made up of the others."""
    table = [[*(gram[row][column] for column in chosen), moment[row]] for row in chosen]
    size = len(chosen)
    for pivot in range(size):
        row = max(range(pivot, size), key=lambda candidate: abs(table[candidate][pivot]))
        if abs(table[row][pivot]) < TOLERANCE:
            return None
        table[pivot], table[row] = table[row], table[pivot]
        for below in range(pivot + 1, size):
            factor = table[below][pivot] / table[pivot][pivot]
            table[below] = [a - factor * b for a, b in zip(table[below], table[pivot], strict=True)]
    solution = [0.0] * size
    for row in reversed(range(size)):
        known = _dot(table[row][row + 1 : size], solution[row + 1 :])
        solution[row] = (table[row][size] - known) / table[row][row]
    return solution


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
