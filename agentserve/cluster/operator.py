"""The operator: the actor that makes a Ray cluster be as a cluster file has it, and keeps it so.

Actors and not Ray Serve: Serve routes single requests and scales by how many are in flight. Which call goes where, and when,
is the brain's to decide, and a program in a gap holds memory without any request; so nothing of Serve would be used but
its health checks, and every stream would take one hop more. The operator is out of the path of calls: while it is away,
what runs goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import httpx

from agentserve.cluster.engine import EngineActor, EngineState
from agentserve.cluster.gateway import GatewayActor
from agentserve.cluster.scaling import Bounds, Demand, Scale, rescale
from agentserve.cluster.section import ClusterFile, EngineGroup
from scheduler.types import Seconds

NAMESPACE = "agentserve"
"""Of all our actors."""
EVERY: Seconds = 1.0
PATIENCE: Seconds = 3.0
"""For an actor's answer: one that is not placed yet gives none."""
ENDING: Seconds = 15.0
"""For an actor to end its process when that need not wait any more."""
LEASE: Seconds = 60.0
"""Of engines' registrations: so long gateways keep engines while the operator is away."""
PLACING: Seconds = 60.0
"""For Ray to find room for an engine and start its actor there, before there is thought to be none."""
ENGINES = "/agentserve/v1/engines"

logger = logging.getLogger(__name__)


class Status(TypedDict):
    """How everything is, by name."""

    engines: dict[str, EngineState]
    gateways: dict[str, EngineState]
    at_zero: dict[str, int]
    """Models that have no engine until calls wait for one, each with how many are held."""


@dataclass(slots=True)
class Part:
    """An actor, and what it said last."""

    actor: Any
    state: EngineState
    since: Seconds
    """When it was created, by the event loop's clock."""
    asked: asyncio.Future[EngineState] | None = None
    """A question to it that has not been answered."""
    timed: bool = False
    """Whether it is known how long it took until it served."""


class Operator:
    """Runs as a detached actor of one cluster."""

    def __init__(self, file: str) -> None:
        """`file` is a `ClusterFile` as JSON. Ray runs this in the actor's event loop, also when it starts it again."""
        self._file = ClusterFile.model_validate_json(file)
        self._text = file
        self._engines: dict[str, Part] = {}
        self._gateways: dict[str, Part] = {}
        self._leaving: set[str] = set()
        self._scales = {group.name: Scale(group.min) for group in self._file.engines}
        self._cold_starts = {group.name: group.cold_start for group in self._file.engines}
        """By group, what the latest start took."""
        self._at_zero: dict[str, int] = {}
        key = self._file.gateway.admin_key_file
        headers = {"authorization": f"Bearer {key.read_text().strip()}"} if key else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=10.0)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def status(self) -> Status:
        """How everything is."""
        return Status(
            engines={name: part.state for name, part in self._engines.items()},
            gateways={name: part.state for name, part in self._gateways.items()},
            at_zero=self._at_zero,
        )

    async def end(self) -> None:
        """Ends everything, gateways first."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for parts in (self._gateways, self._engines):
            await asyncio.gather(*(self._stop(parts, name) for name in list(parts)))

    async def restart(self) -> list[str]:
        """Restarts all engines; says which.

        A spare of each group is started first, where there is room for one. Then each leaves, is drained, starts anew and
        serves before the next leaves, and the spare leaves last: so nobody waits, also where a group has one engine only.
        """
        names: list[str] = []
        for group in self._file.engines:
            names += await self._restart(group)
        return names

    async def _restart(self, group: EngineGroup) -> list[str]:
        names = sorted(name for name in self._engines if _group(name) == group.name)
        if not names:
            return []
        spare = _spare(group)
        self._engines[spare] = _new(self._engine_actor(spare, group))
        try:
            if await self._is_placed(spare):
                await self._until_served(spare)
            else:
                logger.warning("no node has room for another engine of %s: each ends before its successor", group.name)
                await self._stop(self._engines, spare)
            for name in names:
                await self._retire(name)
                await self._until_served(name)
        finally:
            if spare in self._engines:
                await self._retire(spare)
        return names

    async def _is_placed(self, name: str) -> bool:
        """Whether there is room for an engine that is wanted."""
        until = asyncio.get_running_loop().time() + PLACING
        while name in self._engines and self._engines[name].state["state"] == "pending":
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(EVERY)
        return True

    async def _until_served(self, name: str) -> None:
        """Waits until the gateway has the engine up, however often it is begun anew."""
        while (await self._listed()).get(name) != "up":  # noqa: ASYNC110 - the gateway tells nobody
            await asyncio.sleep(EVERY)

    # --- keeping it so ----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._end_spares()
        while True:
            try:
                await self._look()
            except httpx.HTTPError as error:
                logger.info("no gateway answers: %s", error)
            except Exception:
                logger.exception("the operator made an error, and goes on")
            await asyncio.sleep(EVERY)

    def _end_spares(self) -> None:
        """Ends those of a restart in the middle of which an operator has died."""
        import ray

        for group in self._file.engines:
            try:
                ray.kill(ray.get_actor(f"{self._file.name}:engine:{_spare(group)}", namespace=NAMESPACE))
            except ValueError:
                continue

    async def _look(self) -> None:
        self._place()
        await asyncio.gather(*(self._ask(parts, name) for parts in (self._engines, self._gateways) for name in parts))
        self._time_starts()
        await self._register()
        await self._scale()

    def _place(self) -> None:
        """Creates the actors that are missing."""
        for group in self._file.engines:
            for number in range(self._scales[group.name].count):
                name = f"{group.name}-{number}"
                if name not in self._engines and name not in self._leaving:
                    self._engines[name] = _new(self._engine_actor(name, group))
        for number in range(self._file.gateway.replicas):
            name = f"gateway-{number}"
            if name not in self._gateways:
                self._gateways[name] = _new(self._gateway_actor(name))

    def _engine_actor(self, name: str, group: EngineGroup) -> Any:
        wanted = {"num_cpus": group.cpus, "num_gpus": group.gpus, "resources": group.resources}
        if group.labels:
            wanted["label_selector"] = group.labels
        return self._actor(EngineActor, f"engine:{name}", wanted, name, group.model_dump_json())

    def _gateway_actor(self, name: str) -> Any:
        wanted: dict[str, Any] = {
            "num_cpus": 0,
            "scheduling_strategy": "SPREAD",
            "resources": self._file.gateway.resources,
        }
        return self._actor(GatewayActor, name, wanted, name, self._text)

    def _actor(self, kind: type, name: str, wanted: dict[str, Any], *words: str) -> Any:
        import ray

        return (
            ray.remote(kind)
            .options(
                name=f"{self._file.name}:{name}",
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                **wanted,
            )
            .remote(*words)
        )

    async def _ask(self, parts: dict[str, Part], name: str) -> None:
        """Asks an actor how it is. One that is gone is created anew, wherever there is room."""
        from ray.exceptions import RayActorError

        part = parts[name]
        if part.asked is None:
            part.asked = asyncio.ensure_future(_answer(part.actor))
        done, _ = await asyncio.wait(
            [part.asked], timeout=PATIENCE
        )  # a question that was cancelled cannot be put again
        if not done:
            part.state = EngineState(
                state="pending", url="", node="", problem="no node has room for it, or its node is silent"
            )
            return
        asked, part.asked = part.asked, None
        try:
            part.state = asked.result()
        except RayActorError as error:
            logger.warning("%s is gone with its node or process, and starts elsewhere: %s", name, error)
            if parts.get(name) is part:
                del parts[name]

    def _time_starts(self) -> None:
        """Measures cold starts: from when an actor is wanted, so with the wait for a node."""
        now = asyncio.get_running_loop().time()
        for name, part in self._engines.items():
            if part.state["state"] == "up" and not part.timed:
                part.timed = True
                self._cold_starts[_group(name)] = now - part.since

    async def _register(self) -> None:
        """Tells gateways of the engines that are up."""
        for group in self._file.engines:
            for name, part in self._engines.items():
                if _group(name) == group.name and part.state["state"] == "up" and name not in self._leaving:
                    entry = {"name": name, "url": part.state["url"], "model": group.model, "labels": group.labels}
                    priority = group.emulated is not None or (group.launch is not None and group.launch.plugin)
                    await self._tell("POST", ENGINES, entry | {"priority": priority, "lease": LEASE})

    async def _tell(self, method: str, path: str, body: object = None) -> None:
        """Tells one gateway where they share a store, else the only one there is."""
        answer = await self._http.request(method, f"{self._gateway()}{path}", json=body)
        answer.raise_for_status()

    def _gateway(self) -> str:
        """The address of one that runs. Raises `httpx.ConnectError` if none does."""
        for part in self._gateways.values():
            if part.state["state"] == "up":
                return part.state["url"]
        raise httpx.ConnectError("none runs")

    async def _scale(self) -> None:
        """Has as many engines of each group as its model's programs need."""
        groups = [group for group in self._file.engines if group.most > group.min]
        if not groups:
            return
        sets = (await self._http.get(f"{self._gateway()}/agentserve/v1/working-set")).raise_for_status().json()
        self._at_zero = await self._held()
        now = asyncio.get_running_loop().time()
        for group in groups:
            bounds = Bounds(group.min, group.most, group.capacity, self._cold_starts[group.name], group.idle)
            demand = _demand(sets[group.model], self._at_zero.get(group.model, 0))
            scale = self._scales[group.name]
            self._scales[group.name] = rescale(scale, demand, now, bounds)
            for number in range(self._scales[group.name].count, scale.count):
                await self._retire(f"{group.name}-{number}")

    async def _held(self) -> dict[str, int]:
        """How many calls all gateways hold, by the models that have no engine. Raises `httpx.HTTPError` if one is silent."""
        held: Counter[str] = Counter()
        for part in self._gateways.values():
            if part.state["state"] == "up":
                said = (await self._http.get(f"{part.state['url']}/ready")).json()
                held.update(said.get("at_zero") or {})
        return dict(held)

    async def _retire(self, name: str) -> None:
        """An engine leaves: gateways take it off their lists, which moves its programs, and then it ends."""
        self._leaving.add(name)
        try:
            await self._tell("DELETE", f"{ENGINES}/{name}")
            await self._until_drained(name)
            await self._stop(self._engines, name)
        finally:
            self._leaving.discard(name)

    async def _until_drained(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + 2 * self._file.drain
        while loop.time() < until:
            await asyncio.sleep(EVERY)
            if name not in await self._listed(unknown=name):
                return

    async def _listed(self, unknown: str = "") -> dict[str, str]:
        """The engines that a gateway has, and their states; `unknown` alone if it does not answer."""
        try:
            answer = (await self._http.get(f"{self._gateway()}{ENGINES}")).raise_for_status()
        except httpx.HTTPError:
            return {unknown: ""}
        return {engine["name"]: engine["state"] for engine in answer.json()["engines"]}

    async def _stop(self, parts: dict[str, Part], name: str) -> None:
        import ray
        from ray.exceptions import RayActorError

        part = parts.pop(name, None)
        if part is None:
            return
        try:
            await asyncio.wait_for(part.actor.stop.remote(), self._file.drain + ENDING)
        except (RayActorError, TimeoutError) as error:
            logger.warning("%s did not end in order: %s", name, error)
        ray.kill(part.actor)


def _group(engine: str) -> str:
    return engine.rpartition("-")[0]


def _spare(group: EngineGroup) -> str:
    return f"{group.name}-spare"


def _new(actor: Any) -> Part:
    state = EngineState(state="pending", url="", problem="", node="")
    return Part(actor, state, asyncio.get_running_loop().time())


def _demand(tokens: Mapping[str, Any], held: int) -> Demand:
    """Of a gateway's report of one model."""
    under_way = tokens["waiting"] + tokens["running"]
    return Demand(under_way + tokens["in_gap"], bool(under_way or held), tokens["returns_in"])


async def _answer(actor: Any) -> EngineState:
    said: EngineState = await actor.state.remote()
    return said
