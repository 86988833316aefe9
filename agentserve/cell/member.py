"""A gateway's part in its cell: it has the brain, follows one that another gateway has, or goes without.

`run` is its task. It asks the store who has the brain, at a tenth of the lease; takes the lease where nobody has it; and
whenever the brain changes, says all calls in flight again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from agentserve.cell.announce import announcements
from agentserve.cell.brainless import Brainless
from agentserve.cell.channel import Channel, Item
from agentserve.cell.journal import Journal, revive
from agentserve.cell.questions import OF_THE_BRAIN, Questions
from agentserve.cell.term import NOTHING, Term
from agentserve.config import Config
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError
from agentserve.gateway.lives import Life, Watcher
from agentserve.gateway.tenants.door import Visitor
from agentserve.gateway.tenants.tenant import Tenant
from agentserve.state.base import Candidate, Lease, Store, StoreError
from scheduler.brain import Brain, Decision
from scheduler.codec import decode_action, encode
from scheduler.events import (
    CallAnnounced,
    CallArrived,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallFirstToken,
    CallProgressed,
    CallSent,
    DispatchFailed,
    Event,
    HintGiven,
    Prewarmed,
    ProgramEnded,
    ToolEnded,
    ToolStarted,
)
from scheduler.types import EngineId, ProgramKey, Seconds, TenantId

POLLS = 10
"""Questions to the store in the time of a lease."""
LATELY: Seconds = 5.0
"""What ended longer ago is in the brain's log."""
PROTOCOL = 1
"""Of the channel: gateways of another one do not follow us, nor we them."""
RELOAD: Item = {"reload": True}
"""Gateways read their configurations again. The one with the brain passes it on."""
OF_CALLS = (
    CallAnnounced,
    CallArrived,
    CallSent,
    CallFirstToken,
    CallProgressed,
    CallFinished,
    CallFailed,
    CallCancelled,
    DispatchFailed,
    ToolStarted,
    ToolEnded,
    HintGiven,
    ProgramEnded,
    Prewarmed,
)
"""Events that a gateway passes on. Engines are watched for the brain by the gateway that has it."""

logger = logging.getLogger(__name__)


class Member(Watcher):
    """Stands between a driver and the brain. What the driver gives it goes to the brain, wherever that is."""

    def __init__(
        self,
        store: Store,
        config: Config,
        driver: Driver,
        lives: Callable[[], Iterable[Life]],
        pools: Mapping[str, Sequence[EngineId]],
        configured: Callable[[], Iterable[Event]],
    ) -> None:
        """`config.store` is there. `configured` says what the brain has to know of tenants and workflows."""
        assert config.store is not None  # noqa: S101 - said above
        self._store = store
        self._config = config
        self._section = config.store
        self._driver = driver
        self._lives = lives
        self._pools = pools
        self._configured = configured
        self.name = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._secret = secrets.token_hex(16)
        self._term: Term | None = None
        self._writing: asyncio.Task[None] | None = None
        self._last: tuple[int, Brain] | None = None
        """The latest epoch in which the brain was here, and that brain."""
        self._seen = 0
        """The latest epoch that this gateway knows of."""
        self._misses = 0
        """How often in a row nobody had the lease."""
        self._link: Channel | None = None
        """To the brain that is followed."""
        self._links: set[Channel] = set()
        """From gateways that have said who they are."""
        self._questions: Questions | None = None
        self.reload: Callable[[], None] = lambda: None
        """Reads the configuration again."""
        self._ended: dict[ProgramKey, Seconds] = {}
        """Programs that have ended lately, or without a brain, and when: it may not know."""
        self._go_without()

    def call_ended(self, life: Life) -> None:
        """A program's last call ends it."""
        if life.arrival.final:
            self.program_ended(life.arrival.program, life.ended)

    def program_ended(self, program: ProgramKey, at: Seconds) -> None:
        """No more calls come from it."""
        self._ended[program] = at
        if self._driver.standing != "none":
            self._ended = {program: then for program, then in self._ended.items() if then > at - LATELY}

    def attach(self, control: ASGIApp, tenant: Callable[[TenantId], Tenant]) -> None:
        """Says who answers control requests here."""
        self._questions = Questions(control, tenant)

    def take_up(self, config: Config) -> None:
        """A configuration that was read again: whoever takes the brain over here gives it that policy."""
        self._config = config

    def spread(self) -> int:
        """Has the other gateways of the cell read their configurations again. Returns how many were told from here."""
        links = [link for link in (self._link, *self._links) if link is not None]
        for link in links:
            link.send(RELOAD)
        return len(links)

    async def ask(self, scope: Scope, receive: Receive, send: Send, visitor: Visitor) -> bool:
        """Has the gateway with the brain answer a control request; False if it can be answered here.

        Raises:
            ApiError: 503, there is no brain, or it does not answer.
        """
        if self._term is not None or self._questions is None or not scope["path"].startswith(OF_THE_BRAIN):
            return False
        if self._link is None:
            raise ApiError(503, "no gateway has the brain now; try again in a while", code="no_brain", retry_after=1)
        await self._questions.ask(self._link, scope, receive, send, visitor)
        return True

    async def run(self) -> None:
        """Takes part until cancelled."""
        host, _, port = self._section.channel.rpartition(":")
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, host.strip("[]"), int(port))
        address = f"{host}:{server.sockets[0].getsockname()[1]}"
        me = Candidate(self.name, address, self._secret)
        try:
            while True:
                try:
                    await self._look(me)
                except StoreError as error:
                    self._misses = 0
                    logger.debug("%s", error)
                    if self._term is not None and not self._term.valid:
                        self._step_down("the store does not answer")
                except Exception:
                    logger.exception("a fault of ours, please report it; this gateway goes on as one without a brain")
                    self._step_down("of a fault")
                await asyncio.sleep(self._section.lease / POLLS)
        finally:
            server.close()
            await self._leave()

    async def _leave(self) -> None:
        """Lets others take over at once."""
        term = self._term
        if term is not None and self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            try:
                async with asyncio.timeout(self._section.lease):
                    await term.journal.write()
                    await self._store.release(term.lease)
            except (StoreError, TimeoutError) as error:
                logger.warning("the brain could not be handed over in order: %s", error)
            self._step_down("this gateway ends")
        for link in (*self._links, *filter(None, (self._link,))):
            link.close()

    async def _look(self, me: Candidate) -> None:
        began = asyncio.get_running_loop().time()
        if self._term is not None:
            if await self._store.renew(self._term.lease, self._section.lease):
                self._term.renewed(began)
                return
            self._step_down("the lease was lost")
        leader = await self._store.leader()
        if leader is None:
            self._misses += 1
            if self._misses > 1 or self._is_latest:
                await self._stand(me)
            return
        self._misses = 0
        if self._link is not None and leader.epoch > self._seen:
            self._link.close()
        elif self._link is None and leader.holder.gateway != self.name:
            await self._follow(leader)

    @property
    def _is_latest(self) -> bool:
        """Whether no later brain is known than the one that was here: others then let it go first."""
        return self._last is not None and self._last[0] >= self._seen

    # --- having the brain -------------------------------------------------------------------------------------------

    async def _stand(self, me: Candidate) -> None:
        began = asyncio.get_running_loop().time()
        lease = await self._store.acquire(me, self._section.lease, self._seen)
        if lease is None:
            return
        if self._last is not None and lease.previous in (0, self._last[0]):
            brain = self._last[1]
        else:
            saved = await self._store.restore()
            brain = revive(saved, self._config.policy, self._config.program_idle_timeout)
            began = asyncio.get_running_loop().time()
            if not await self._store.renew(lease, self._section.lease):
                return
        self._lead(lease, brain, began)

    def _lead(self, lease: Lease, brain: Brain, renewed: Seconds) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._seen = lease.epoch
        self._last = lease.epoch, brain
        driver = self._driver
        journal = Journal(self._store, lease, brain)
        term = self._term = Term(
            lease, self._section.lease, brain, driver, journal, self._too_late, lambda: tuple(self._links)
        )
        term.renewed(renewed)
        driver.brain, driver.take, driver.epoch, driver.standing = brain, term.take, lease.epoch, "here"
        logger.info("this gateway has the brain, epoch %d: %d programs", lease.epoch, len(brain.programs))
        term.take_over(self._config.policy, list(self._configured()))
        self._announce()
        self._writing = asyncio.create_task(journal.run(lambda: self._step_down("another gateway has the brain")))

    def _too_late(self, event: Event) -> Decision:
        self._step_down("its lease is over")
        return self._driver.take(event)

    def _step_down(self, why: str) -> None:
        term, self._term = self._term, None
        if term is None:
            return
        logger.warning("this gateway has the brain no more: %s", why)
        term.close()
        if self._writing is not None:
            self._writing.cancel()
        for link in tuple(self._links):
            link.close()
        self._go_without()
        self._announce()

    # --- without ----------------------------------------------------------------------------------------------------

    def _go_without(self) -> None:
        driver = self._driver
        self._brainless = Brainless(self._pools, driver.engines)
        driver.take = self._brainless.take
        driver.brain = Brain(self._config.policy)
        driver.epoch, driver.standing = None, "none"

    def _announce(self) -> None:
        """Says to whoever is asked from now on what ended without it, and all calls in flight."""
        now, lives = self._driver.now(), list(self._lives())
        finished: list[Event] = []
        if self._driver.standing != "none":
            finished = [replace(event, at=now) for event in self._brainless.finished]
            self._brainless.finished.clear()
        ended: list[Event] = [ProgramEnded(now, program) for program in self._ended]
        for event in (*finished, *ended, *announcements(lives, now)):
            self._driver.obey(self._driver.take(event))

    # --- following --------------------------------------------------------------------------------------------------

    async def _follow(self, leader: Lease) -> None:
        host, _, port = leader.holder.address.rpartition(":")
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        welcome: asyncio.Future[int] = loop.create_future()
        link: Channel | None = None

        def heard(link: Channel, item: Item) -> None:
            if "welcome" in item:
                welcome.set_result(int(item["welcome"]))
            elif "answer" in item and self._questions is not None:
                self._questions.answered(item)
            elif item == RELOAD:
                self.reload()
            elif link is self._link:
                self._driver.obey(Decision((decode_action(item),), None))

        def gone(link: Channel) -> None:
            if not lost.done():
                lost.set_result(None)
            self._lost(link)

        try:
            async with asyncio.timeout(self._section.lease):
                _, link = await loop.create_connection(
                    lambda: Channel(self._section.lease, heard, gone), host.strip("[]"), int(port)
                )
                link.send({"hello": PROTOCOL, "secret": leader.holder.secret, "gateway": self.name})
                await asyncio.wait((lost, welcome), return_when=asyncio.FIRST_COMPLETED)
        except (OSError, TimeoutError) as error:
            logger.debug("the brain cannot be reached at %s: %s", leader.holder.address, error)
        if link is None or lost.done() or not welcome.done() or welcome.result() < self._seen:
            if link is not None:
                link.close()
            return
        self._seen = welcome.result()
        self._link = link
        self._driver.take, self._driver.standing = self._pass_on, "there"
        logger.info("following the brain of %s, epoch %d", leader.holder.gateway, self._seen)
        self._announce()

    def _pass_on(self, event: Event) -> Decision:
        if self._link is not None and isinstance(event, OF_CALLS):
            self._link.send(encode(event))
        return NOTHING

    def _lost(self, link: Channel) -> None:
        if link is self._link:
            self._link = None
            logger.warning("the brain is out of reach: calls are forwarded without it")
            self._go_without()
            self._announce()

    # --- others who follow us ---------------------------------------------------------------------------------------

    def _accept(self) -> Channel:
        return Channel(self._section.lease, self._heard, self._left)

    def _heard(self, link: Channel, item: Mapping[str, Any]) -> None:
        term = self._term
        if term is None:
            link.close()
        elif link in self._links and "ask" in item:
            if self._questions is not None:
                self._questions.heard(link, item)
        elif link in self._links and item == RELOAD:
            self.reload()
            for other in self._links - {link}:
                other.send(RELOAD)
        elif link in self._links:
            term.heard(link, item)
        elif item.get("hello") == PROTOCOL and secrets.compare_digest(str(item.get("secret")), self._secret):
            self._links.add(link)
            link.send({"welcome": term.lease.epoch})
        else:
            logger.warning("a gateway of another cell, or of another release, tried to follow this one")
            link.close()

    def _left(self, link: Channel) -> None:
        self._links.discard(link)
        if self._term is not None:
            self._term.left(link)
