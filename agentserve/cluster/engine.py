"""An engine as a Ray actor: it owns the engine's process, keeps it up, and says how it is."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import TypedDict

from agentserve.cluster.section import EngineGroup
from agentserve.config import EngineSection
from agentserve.engines.base import Engine, Pulse
from agentserve.engines.factory import build_engine
from agentserve.engines.supervise import Supervisor
from scheduler.types import EngineSpec, Seconds

logger = logging.getLogger(__name__)


class EngineState(TypedDict):
    """How an engine is."""

    state: str
    url: str
    problem: str
    node: str
    """Ray's id of the node that it is on; empty while it is on none."""


def node_id() -> str:
    """Ray's id of the node that this process is on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


class EngineActor:
    """One engine on the node where Ray has put it. It listens on that node's address."""

    def __init__(self, name: str, group: str) -> None:
        """`group` is an `EngineGroup` as JSON."""
        import ray

        section = EngineGroup.model_validate_json(group)
        made = EngineSection(name=name, launch=section.launch, emulated=section.emulated)
        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        logs = Path(tempfile.gettempdir()) / "agentserve"
        self._engine = build_engine(made, section.model, logs, host)
        self._supervisor = Supervisor(self._engine, _Nobody(), logger.info)
        self._task: asyncio.Task[None] | None = None

    async def state(self) -> EngineState:
        """How it is; it is started when this is asked for the first time."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervisor.run())
            await asyncio.sleep(0)
        return EngineState(
            state=self._supervisor.state.value,
            url=self._engine.url,
            problem=self._supervisor.problem,
            node=node_id(),
        )

    async def stop(self) -> None:
        """Ends the engine's process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _Nobody:
    """Gateways watch engines themselves."""

    def engine_up(self, engine: Engine, spec: EngineSpec) -> None:
        """It is healthy."""

    def engine_down(self, engine: Engine, reason: str) -> None:
        """It is gone."""

    def engine_observed(self, engine: Engine, as_of: Seconds, pulse: Pulse) -> None:
        """A scrape."""
