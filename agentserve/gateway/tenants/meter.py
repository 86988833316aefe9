"""Watches the scheduler's events for what tenants use, and for who of them waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.actions import Dispatch, Reject
from scheduler.brain import Decision
from scheduler.events import (
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallProgressed,
    DispatchFailed,
    EngineObserved,
    Event,
)
from scheduler.types import CallId, Seconds, Tokens

BYTES_A_TOKEN = 4
"""For a prompt that no engine has counted."""


@dataclass(slots=True)
class _Call:
    tenant: Tenant
    prompt: Tokens
    output: Tokens = 0
    sent: bool = False


class Meter:
    """A record of the driver.

    A call is charged when it has ended: as the engine counts it, or, if it was ended before that, for its prompt by its
    bytes and for the output that is known of.
    """

    def __init__(self, roster: Roster, date: Callable[[], Seconds] = time.time) -> None:
        self._roster = roster
        self._date = date
        self._calls: dict[CallId, _Call] = {}

    def record(self, event: Event, decision: Decision) -> None:
        """Takes an event and what was decided."""
        match event:
            case CallArrived():
                self._arrived(event)
            case DispatchFailed(at, name):
                self._calls[name].tenant.line.join(name, at)
            case CallProgressed(_, name, output):
                self._calls[name].output = output
            case EngineObserved():
                for name, output in event.outputs:
                    self._calls[name].output = output
            case CallFinished(at, name, usage):
                call = self._calls.pop(name)
                self._charge(call, at, usage.prompt + usage.output if usage else call.prompt + call.output)
            case CallFailed(at, name) | CallCancelled(at, name):
                call = self._calls.pop(name)
                call.tenant.line.leave(name)
                if call.sent:
                    self._charge(call, at, call.prompt + call.output)
        for action in decision.actions:
            match action:
                case Dispatch(name):
                    self._calls[name].sent = True
                    self._calls[name].tenant.line.depart(name, event.at)
                case Reject(name):
                    self._calls.pop(name).tenant.line.leave(name)

    def _arrived(self, event: CallArrived) -> None:
        tenant = self._roster.of(event.program.tenant)
        self._calls[event.call] = _Call(tenant, event.prompt_tokens or event.prompt_bytes // BYTES_A_TOKEN)
        tenant.line.join(event.call, event.at)

    def _charge(self, call: _Call, at: Seconds, tokens: Tokens) -> None:
        call.tenant.used(at, self._date(), tokens)
