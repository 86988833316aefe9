"""Watches calls for what tenants use, and for who of them waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from agentserve.gateway.lives import Life, Watcher
from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.types import Seconds, Tokens
from workloads.traces.recording import CallStatus

BYTES_A_TOKEN = 4
"""For a prompt that no engine has counted."""


class Meter(Watcher):
    """Keeps the tenants' lines and charges them.

    A call is charged when it has ended: as the engine counts it, or, if it was ended before that, for its prompt by its
    bytes and for the output that is known of.
    """

    def __init__(self, roster: Roster, date: Callable[[], Seconds] = time.time) -> None:
        self._roster = roster
        self._date = date

    def call_arrived(self, life: Life) -> None:
        """It joins its tenant's line."""
        self._tenant(life).line.join(life.arrival.call, life.arrival.at)

    def call_waits(self, life: Life, at: Seconds) -> None:
        """It joins the line again."""
        self._tenant(life).line.join(life.arrival.call, at)

    def call_dispatched(self, life: Life, at: Seconds) -> None:
        """It departs."""
        self._tenant(life).line.depart(life.arrival.call, at)

    def call_ended(self, life: Life) -> None:
        """It leaves the line if it is in it, and is charged if an engine has had it."""
        tenant = self._tenant(life)
        tenant.line.leave(life.arrival.call)
        if life.attempts and life.status is not CallStatus.REJECTED:
            tenant.used(life.ended, self._date(), _tokens(life))

    def _tenant(self, life: Life) -> Tenant:
        return self._roster.of(life.arrival.program.tenant)


def _tokens(life: Life) -> Tokens:
    if life.usage is not None:
        return life.usage.prompt + life.usage.output
    arrival = life.arrival
    return (arrival.prompt_tokens or arrival.prompt_bytes // BYTES_A_TOKEN) + life.output
