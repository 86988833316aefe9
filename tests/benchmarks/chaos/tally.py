"""What came of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from agentserve.commands.common import out


@dataclass
class Tally:
    """Times in seconds."""

    scenario: str
    seed: int
    done: list[str] = field(default_factory=list)
    """What was done, in order."""
    programs: int = 0
    calls: int = 0
    """Calls that were answered."""
    attempts: int = 0
    """Requests for them, without those that no gateway took."""
    repeated: int = 0
    """Calls that were made again because what served them had been killed."""
    under_way: list[int] = field(default_factory=list)
    """Streams on what was killed, cut off or without a store, at each time."""
    elsewhere: list[int] = field(default_factory=list)
    """Streams through others at that time, all of which have to end whole."""
    recovery_s: list[float] = field(default_factory=list)
    """From each kill, or from the return of what was away, to the first answer begun after it that a brain decided on."""
    why: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)
    """What the checks at the end counted."""
    wrong: list[str] = field(default_factory=list)

    def did(self, text: str) -> None:
        """Says what was done, and keeps it."""
        self.done.append(text)
        out.print(text)

    def summary(self) -> dict[str, object]:
        """As plain data."""
        ordered = sorted(self.recovery_s)
        middle = ordered[len(ordered) // 2] if ordered else None
        whys = dict(self.why)  # asdict would make a counter of pairs of it
        return {
            **asdict(self),
            "why": whys,
            "recovery_median_s": middle,
            "recovery_max_s": max(ordered, default=None),
        }
