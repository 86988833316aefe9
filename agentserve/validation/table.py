"""Verdicts as the cells of a table, whatever it is written in."""

from __future__ import annotations

from agentserve.validation.agreement import Pair, Verdict
from simulator.intervals import Ratio

HEAD = ("figure", "real", "simulated", "error", "allowed", "")
RANKING_HEAD = ("policies", "figure", "real", "simulated", "same order")


def verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    """One row under `HEAD`."""
    figure, real = verdict.figure, verdict.real
    half = "" if real.half is None else f" ± {figure.write(real.half)}"
    if verdict.allowed is None:
        allowed, word = "", ""
    else:
        allowed, word = f"± {figure.write(verdict.allowed)}", "within" if verdict.within else "OUTSIDE"
    return (
        figure.title,
        f"{figure.write(real.mean)}{half}",
        figure.write(verdict.simulated),
        verdict.error,
        allowed,
        word,
    )


def pair_cells(pair: Pair) -> tuple[str, ...]:
    """One row under `RANKING_HEAD`."""
    word = ("yes" if pair.agrees else "NO") if pair.separated else "not separated"
    return f"{pair.first} / {pair.second}", pair.figure.title, _write(pair.real), f"{pair.simulated.value:.2f}", word


def _write(ratio: Ratio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
