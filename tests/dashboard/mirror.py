"""One who watches, and remembers the states that each program was seen in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentserve.dashboard.reader import Picture, Row
from agentserve.dashboard.states import State


class Mirror:
    def __init__(self) -> None:
        self.picture = Picture()
        self.seen: dict[str, list[State]] = {}
        """In order, those of programs that have ended too."""

    def take(self, frame: Mapping[str, Any]) -> None:
        names = {} if frame.get("whole") else {slot: row.id for slot, row in self.picture.rows.items()}
        self.picture.take(frame)
        names |= {slot: name for slot, name, *_ in frame.get("new", ())}
        for slot, state, *_ in frame.get("rows", ()):
            states = self.seen.setdefault(names[slot], [])
            if not states or states[-1] is not State(state):
                states.append(State(state))

    @property
    def rows(self) -> dict[str, Row]:
        return {row.id: row for row in self.picture.rows.values()}

    def state(self, program: str) -> State:
        return self.rows[program].state
