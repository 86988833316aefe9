"""Placement: which engine a call goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from scheduler.admission.base import Admission
from scheduler.state import Call, EngineState
from scheduler.view import View


class Placement(Protocol):
    """A placement policy."""

    binds: ClassVar[bool]
    """A call is placed when it arrives, and waits for its turn on that engine; otherwise it is when it may go."""

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        """One of `engines` (at least one; all are up, serve the call's model and have not failed it).

        It should be one that admits the call, if there is any: a call that is not admitted where it was placed closes
        all of `engines` to those behind it.
        """
        ...
