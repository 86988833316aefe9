"""A group: n samples of one prompt, in as few programs as are worth while, each of which stays on one engine."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus

from agentserve.config import Limits
from agentserve.engines.base import Engine, EngineError
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError, no_engine, too_long
from agentserve.gateway.exchange import ask
from agentserve.gateway.identity import Identity
from agentserve.gateway.rollouts.ground import Ground
from agentserve.gateway.rollouts.sample import Order, Sample
from agentserve.gateway.sources import Source
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.events import ProgramEnded
from scheduler.rollouts.groups import parts
from scheduler.types import EngineSpec, ProgramKey


class Group:
    """A group that has been admitted."""

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        ground: Ground,
        tenant: Tenant,
        name: str,
        workflow: str,
        parent: str | None,
    ) -> None:
        """`name` is chosen where it is empty."""
        self.name = name or f"group-{secrets.token_hex(8)}"
        self._driver = driver
        self._limits = limits
        self._ground = ground
        self._tenant = tenant
        self._workflow, _ = tenant.names.known(workflow or "rollouts", "")
        self._parent = ProgramKey(tenant.id, parent) if parent else None

    async def tokens(self, asked: Mapping[str, object]) -> list[int]:
        """The tokens of a text (`prompt`) or chat (`messages`, and what vLLM's /tokenize takes with it), by an engine.

        Raises:
            ApiError: it refuses, or there is none.
        """
        engine, _ = self._any_engine()
        try:
            reply, data = await ask(engine, "/tokenize", json.dumps({"model": self._ground.model, **asked}).encode())
        except (EngineError, BadAnswerError) as error:
            raise ApiError(502, str(error), code="engine_lost") from None
        if reply.status != HTTPStatus.OK:
            raise ApiError(reply.status, f"the engine refused the prompt: {data[:300].decode(errors='replace')}")
        tokens: list[int] = json.loads(data)["tokens"]
        return tokens

    async def run(self, order: Order, samples: int, *, ends: bool) -> list[Sample]:
        """Writes the samples. Cancelling it ends those that are not whole. The programs end with it if `ends`.

        Raises:
            ApiError: 400, the prompt is too long; 429, the group is too stale; or what all samples failed by.
        """
        _, spec = self._any_engine()
        if len(order.prompt) >= spec.max_model_len:
            raise too_long(len(order.prompt), spec.max_model_len)
        self._ground.check(samples)
        version = self._ground.versions.latest
        self._ground.submitted.submit(samples, version)
        up = sum(engine in self._driver.engines for engine in self._ground.engines)
        sizes = parts(samples, len(order.prompt), order.most, spec, up)
        made = [self._sample(part, len(sizes)) for part, size in enumerate(sizes) for _ in range(size)]
        self._ground.samples.update(made)
        try:
            await self._write(made, order)
        finally:
            self._ground.ended(made)
            if ends:
                self._end({sample.identity.program for sample in made})
        failed = [sample.error for sample in made if sample.error is not None]
        if len(failed) == len(made):
            raise failed[0]
        return made

    async def _write(self, samples: list[Sample], order: Order) -> None:
        seed = order.sampling.get("seed")
        async with asyncio.TaskGroup() as tasks:
            for number, sample in enumerate(samples):
                own = order
                if isinstance(seed, int):
                    own = replace(order, sampling={**order.sampling, "seed": seed + number})
                tasks.create_task(sample.run(own))

    def _sample(self, part: int, programs: int) -> Sample:
        key = ProgramKey(self._tenant.id, self.name if programs == 1 else f"{self.name}/{part}")
        identity = Identity(key, Source.HEADER, self._parent, self._workflow, "", None, False, remaining_calls=1)
        return Sample(self._driver, self._limits, self._tenant.passage, self._ground.versions, identity, self.name)

    def _end(self, programs: set[ProgramKey]) -> None:
        for program in sorted(programs):
            if program in self._driver.brain.programs:
                self._driver.handle(ProgramEnded(self._driver.now(), program))

    def _any_engine(self) -> tuple[Engine, EngineSpec]:
        for name in self._ground.engines:
            if name in self._driver.engines:
                return self._driver.engines[name], self._driver.specs[name]
        raise no_engine(self._ground.model)
