"""Shares of memory: what tenants that hold more than theirs leave to those that hold less.

Turns alone do not help a tenant that asks for little. It is next whenever it comes, but memory is full of programs of the
others, and it waits until one of them ends, which may take minutes. So each tenant that is here, which is for a while
after its latest call too, has a share of the memory of a model's engines, by its weight:

    share of u = weight of u / weights of those that are here * memory
    unused by u = max(0, share of u - what its members hold and half of what they will still grow by)

Who would hold more than his share goes behind all who would not, and leaves room on each engine for newcomers: so many
of usual size, but no more than is unused by others of whom no call waits. Alone, or where all ask for all they may have,
a tenant leaves nothing. And while another holds more than its share, the programs of one that does not may enter where
they fit without room for anybody's growth: what is short then is short for those behind.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from scheduler.state import Call, EngineState
from scheduler.types import Seconds, TenantId, Tokens
from scheduler.view import View

PRESENCE: Seconds = 60.0
"""A tenant is here for so long after it was last seen."""


@dataclass(slots=True)
class MemoryShares:
    """Who is here. Everything else is in the view."""

    _seen: dict[TenantId, Seconds] = field(default_factory=dict)

    def see(self, tenant: TenantId, now: Seconds) -> None:
        """Something has happened to a call of the tenant."""
        self._seen[tenant] = now

    def exceeds(self, view: View, call: Call) -> bool:
        """Whether the call's tenant would hold more than its share, while others are here."""
        tenant = call.program.key.tenant
        there = _engines(view, call.model)
        claim = call.reached + view.growth_after(call) // 2 - call.program.claim
        return claimed(there, tenant) + claim > self._share(view, there, tenant)

    def crowded(self, view: View, call: Call) -> bool:
        """Whether another tenant holds more than its share."""
        there, own = _engines(view, call.model), call.program.key.tenant
        others = (tenant for tenant in self._here(view) if tenant != own)
        return any(claimed(there, other) > self._share(view, there, other) for other in others)

    def kept(self, view: View, call: Call, newcomers: float, waiting: Container[TenantId]) -> Tokens:
        """What the call's tenant leaves free on each engine for those of whom nothing waits; 0 within its own share."""
        if len(self._here(view)) < 2 or not self.exceeds(view, call):
            return 0
        there = _engines(view, call.model)
        others = (tenant for tenant in self._here(view) if tenant not in waiting)
        unused = sum(max(0.0, self._share(view, there, tenant) - claimed(there, tenant)) for tenant in others)
        return int(min(newcomers * view.learned.newcomer.value, unused / len(there)))

    def _share(self, view: View, there: Sequence[EngineState], tenant: TenantId) -> float:
        """The tenant's share of these engines' memory: all of it while nobody else is here."""
        weights = {other: view.weights.get(other, 1.0) for other in (*self._here(view), tenant)}
        return sum(engine.account.capacity for engine in there) * weights[tenant] / sum(weights.values())

    def _here(self, view: View) -> list[TenantId]:
        """In an order that does not depend on the process: sums of weights do."""
        return [tenant for tenant, at in self._seen.items() if at + PRESENCE >= view.now]


def claimed(engines: Sequence[EngineState], tenant: TenantId) -> float:
    """What the tenant's members claim, prefixes that members share counted once for all."""
    return sum(engine.claims.get(tenant, 0) * _shared(engine) for engine in engines)


def _shared(engine: EngineState) -> float:
    counted, held = sum(engine.claims.values()), engine.account.occupied + engine.growth // 2
    return min(1.0, held / counted) if counted else 1.0


def _engines(view: View, model: str) -> list[EngineState]:
    return [engine for engine in view.engines.values() if model in engine.spec.models]
