"""What a comparison measured, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from workloads.records import CallRecord, Spread, Summary, summarise

PIN_OUTCOMES = {"applied": "made", "hit": "hit", "expired": "expired", "broken": "broken", "lost": "lost"}
"""The engine's word for what became of a pin, and ours for a reader."""


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """One side's replay: its calls, its figures, and what became of the pins made during it."""

    name: str
    records: list[CallRecord]
    pins: Mapping[str, int]

    @property
    def summary(self) -> Summary:
        return summarise(self.records)

    def to_json(self) -> dict[str, object]:
        """Figures and pins, without the single calls."""
        return {"name": self.name, "summary": asdict(self.summary), "pins": dict(self.pins)}


def pins_since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """The pins of one replay, from the counters before and after it."""
    return {outcome: count - before.get(outcome, 0) for outcome, count in after.items()}


def figures(outcome: ArmOutcome) -> list[tuple[str, float | None]]:
    """The rows of the table: what is measured with its unit, and the figure. Smaller is better but for the cached share."""
    summary = outcome.summary
    completion, ttft = summary.completion_s or _NOTHING, summary.ttft_s or _NOTHING
    later = summary.ttft_later_s or _NOTHING
    return [
        ("program completion, mean (s)", completion.mean),
        ("program completion, P50 (s)", completion.p50),
        ("program completion, P95 (s)", completion.p95),
        ("program completion, max (s)", completion.max),
        ("time to first token, mean (s)", ttft.mean),
        ("time to first token, max (s)", ttft.max),
        ("  of calls after a program's first, max (s)", later.max),
        ("cached share of prompt tokens", summary.cached_share),
        ("makespan (s)", summary.makespan_s),
    ]


_NOTHING = Spread(*[float("nan")] * 4)
