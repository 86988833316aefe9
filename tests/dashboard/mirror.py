"""One who watches: takes frames and knows what they say, as the page does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentserve.dashboard.states import State


@dataclass
class Mirror:
    names: dict[int, str] = field(default_factory=dict)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    seen: dict[str, list[State]] = field(default_factory=dict)
    """The states of each program, in order, those of programs that have ended too."""
    engines: dict[str, list[Any]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def take(self, frame: dict[str, Any]) -> None:
        if frame.get("whole"):
            self.names.clear()
            self.rows.clear()
            self.engines.clear()
        for slot, name, *_ in frame.get("new", ()):
            assert slot not in self.names, "a slot is used again"
            self.names[slot] = name
        for row in frame.get("rows", ()):
            name = self.names[row[0]]
            self.rows[name] = row
            states = self.seen.setdefault(name, [])
            if not states or states[-1] is not State(row[1]):
                states.append(State(row[1]))
        for slot in frame.get("gone", ()):
            del self.rows[self.names.pop(slot)]
        self.engines |= {row[0]: row for row in frame.get("engines", ())}
        self.figures |= {name: frame[name] for name in ("tenants", "pins", "policy", "times", "tuner") if name in frame}

    def state(self, program: str) -> State:
        return State(self.rows[program][1])
