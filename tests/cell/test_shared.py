"""What gateways share beside the brain."""

from __future__ import annotations

import pytest

from agentserve.cell.shared import Shared
from agentserve.config import parse
from agentserve.gateway.chain import Chain
from agentserve.gateway.prompt import Prompt
from agentserve.gateway.tenants.buckets import Budget
from agentserve.gateway.tenants.roster import Roster
from agentserve.state.base import StoreUnreachableError
from agentserve.state.memory import MemoryStore
from scheduler.types import DEFAULT_TENANT, PrefixMark, ProgramKey

DAY = 86_400.0
CONFIG = {
    "pools": [{"model": "m", "engines": [{"name": "a", "url": "http://e"}]}],
    "store": {"redis": "redis://r"},
    "tenants": [{"name": "default", "budget": {"tokens": 1000, "every": "1d"}}],
}


def part(store: MemoryStore, name: str) -> tuple[Shared, Budget, Chain]:
    roster, chain = Roster(parse(CONFIG)), Chain()
    budget = roster.of().budget
    assert budget is not None
    return Shared(store, name, roster, chain), budget, chain


async def test_a_budget_is_one_for_all_gateways() -> None:
    store = MemoryStore()
    (a, of_a, _), (b, of_b, _) = part(store, "a"), part(store, "b")
    of_a.spend(DAY, 100)
    of_b.spend(DAY, 10)
    for _ in range(3):
        await a.exchange()
        await b.exchange()
    assert (of_a.spent, of_b.spent) == (110, 110)
    of_b.spend(DAY, 5)
    await b.exchange()
    await a.exchange()
    assert (of_a.spent, of_b.spent) == (115, 115)


async def test_what_was_spent_survives_a_wiped_store_and_counts_once() -> None:
    store = MemoryStore()
    (a, of_a, _), (b, of_b, _) = part(store, "a"), part(store, "b")
    of_a.spend(DAY, 100)
    of_b.spend(DAY, 10)
    await a.exchange()
    await b.exchange()
    MemoryStore.__init__(store)
    for _ in range(2):
        await b.exchange()
        await a.exchange()
    assert (of_a.spent, of_b.spent) == (110, 110)


async def test_a_new_period_begins_at_nothing() -> None:
    store = MemoryStore()
    a, of_a, _ = part(store, "a")
    of_a.spend(DAY, 100)
    await a.exchange()
    of_a.spend(2 * DAY, 7)
    await a.exchange()
    await a.exchange()
    assert of_a.spent == 7


class Away(MemoryStore):
    """Answers nobody while it is `away`."""

    away = True

    async def spend(self, *words: object) -> int:
        if self.away:
            raise StoreUnreachableError("away")
        return await super().spend(*words)  # type: ignore[arg-type]


async def test_what_could_not_be_told_is_told_later_once() -> None:
    store = Away()
    a, of_a, _ = part(store, "a")
    of_a.spend(DAY, 100)
    for _ in range(2):
        with pytest.raises(StoreUnreachableError):
            await a.exchange()
    store.away = False
    await a.exchange()
    assert of_a.spent == 100
    assert await store.spend("b", DEFAULT_TENANT, 1, 0) == 100


async def test_a_response_is_found_by_another_gateway() -> None:
    store = MemoryStore()
    (a, _, of_a), (b, _, of_b) = part(store, "a"), part(store, "b")
    program = ProgramKey(DEFAULT_TENANT, "p")
    of_a.remember("resp-1", program, Prompt((), PrefixMark(1, 40)), 10)
    await a.exchange()
    await b.find(DEFAULT_TENANT, "resp-1")
    await b.find(DEFAULT_TENANT, "resp-unknown")
    link = of_b.find(DEFAULT_TENANT, "resp-1")
    assert link is not None
    assert link.program == program
    assert of_b.find(DEFAULT_TENANT, "resp-unknown") is None
