"""What gateways of a cell share beside the brain: what tenants have spent of their budgets, and whose responses are whose."""

from __future__ import annotations

import asyncio
import logging

from agentserve.gateway.chain import Chain
from agentserve.gateway.tenants.roster import Roster
from agentserve.state.base import Store, StoreError
from scheduler.types import ProgramKey, Seconds, TenantId, Tokens

INTERVAL: Seconds = 1.0
"""Between two times that gateways tell each other what was spent."""

logger = logging.getLogger(__name__)


class Shared:
    """One gateway's part of it. `keep` is its task."""

    def __init__(self, store: Store, name: str, roster: Roster, chain: Chain) -> None:
        self._store = store
        self._name = name
        self._roster = roster
        self._chain = chain
        self._own: dict[TenantId, tuple[int, Tokens]] = {}
        """Period, and what has been spent in it through this gateway."""
        self._told: dict[TenantId, tuple[int, Tokens]] = {}
        """Period, and what all gateways had spent in it when that was asked for last."""
        self._responses: dict[tuple[TenantId, str], str] = {}
        """Those that the store has not been told of."""
        chain.told = self._answered

    def _answered(self, response: str, program: ProgramKey) -> None:
        self._responses[program.tenant, response] = program.program

    async def keep(self) -> None:
        """Tells and asks now and then, until cancelled. Without an answer nothing is lost: sums are told, no differences."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.exchange()
            except StoreError as error:
                logger.debug("%s", error)

    async def exchange(self) -> None:
        """Tells what was spent here and learns what was elsewhere; the same of responses. Raises `StoreError`."""
        for tenant in self._roster:
            if tenant.budget is not None:
                budget = tenant.budget
                period, seen = budget.period, budget.spent
                before = self._told.get(tenant.id, (period, 0))
                own = self._own.get(tenant.id, (period, 0))
                fresh = seen - (before[1] if before[0] == period else 0)
                spent = (own[1] if own[0] == period else 0) + fresh
                self._own[tenant.id], self._told[tenant.id] = (period, spent), (period, seen)
                total = await self._store.spend(self._name, tenant.id, period, spent)
                if budget.period == period:
                    budget.spent += total - seen
                    self._told[tenant.id] = period, total
        if self._responses:
            told, self._responses = self._responses, {}
            try:
                await self._store.remember(told)
            except StoreError:
                self._responses = told | self._responses
                raise

    async def find(self, tenant: TenantId, response: str) -> None:
        """Puts a response of another gateway into the chain, if this one does not know it and the store does."""
        if self._chain.find(tenant, response) is not None:
            return
        try:
            program = await self._store.recall(tenant, response)
        except StoreError as error:
            logger.debug("%s", error)
            return
        if program is not None:
            self._chain.load([[tenant, response, program]])
