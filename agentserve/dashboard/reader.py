"""What somebody knows who follows the feed; frames as docs/dashboard.md has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentserve.dashboard.states import State
from scheduler.types import Seconds, Tokens

FIGURES = ("tenants", "more", "times", "pins", "policy", "tuner")


class Row(NamedTuple):
    """A program as it is now."""

    id: str
    tenant: str
    workflow: str
    state: State
    since: Seconds
    engine: str | None
    tokens: Tokens
    until: Seconds
    waiting: int
    running: int
    served: int


class EngineRow(NamedTuple):
    """An engine as it is now; the numbers from `capacity` to `foreign` are KV tokens."""

    name: str
    model: str
    status: str
    capacity: Tokens
    free: Tokens
    active: Tokens
    retained: Tokens
    left: Tokens
    foreign: Tokens
    running: int
    members: int
    queued: int


@dataclass(slots=True)
class Picture:
    """The present, as far as frames have told it."""

    at: Seconds = 0.0
    rows: dict[int, Row] = field(default_factory=dict)
    engines: dict[str, EngineRow] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    _identities: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def take(self, frame: Mapping[str, Any]) -> None:
        """Takes the next frame."""
        if frame.get("whole"):
            self.rows.clear()
            self.engines.clear()
            self._identities.clear()
        self.at = frame["at"]
        for slot, name, tenant, workflow, *_ in frame.get("new", ()):
            self._identities[slot] = name, tenant, workflow
        for slot, state, *rest in frame.get("rows", ()):
            self.rows[slot] = Row(*self._identities[slot], State(state), *rest)
        for slot in frame.get("gone", ()):
            del self.rows[slot], self._identities[slot]
        self.engines |= {row[0]: EngineRow(*row) for row in frame.get("engines", ())}
        self.figures |= {name: frame[name] for name in FIGURES if name in frame}
