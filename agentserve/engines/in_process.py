"""The emulated engine, served by this process on a loopback port and attached to like any other."""

from __future__ import annotations

from agentserve.config import Emulated
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import EngineError, Progress
from agentserve.engines.command import HOST
from agentserve.engines.emulated import EmulatedServer
from agentserve.engines.probe import Known
from scheduler.types import EngineId, EngineSpec
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2, ProfileError, load_profile


class InProcessEngine(AttachedEngine):
    """An engine that only pretends, and says so whenever it starts."""

    def __init__(self, name: EngineId, section: Emulated, model: str, host: str = HOST) -> None:
        super().__init__(name, "", Known(model, priority=True))
        self._section = section
        self._host = host
        self._model = model
        self._server: EmulatedServer | None = None

    async def start(self, progress: Progress) -> EngineSpec:
        """Serves it on a free port, empty, and probes it.

        Raises:
            EngineError: its profile cannot be read, or there is no port.
        """
        await self._end()
        try:
            self._server = self._build()
            self._leg.url = await self._server.start(self._host)
        except (OSError, ProfileError) as error:
            raise EngineError(f"engine {self.name} could not be emulated: {error}") from error
        progress(f"engine {self.name} is emulated: its times are modelled and its text is filler")
        return await super().start(progress)

    async def stop(self) -> None:
        """Ends the server and closes the connections."""
        await self._end()
        await super().stop()

    def _build(self) -> EmulatedServer:
        section = self._section
        config = EngineConfig(
            num_blocks=section.kv_tokens // section.block_size,
            block_size=section.block_size,
            max_model_len=section.max_model_len,
            max_num_seqs=section.max_num_seqs,
            max_num_batched_tokens=section.max_num_batched_tokens,
        )
        profile = load_profile(section.profile) if section.profile else CPU_SMOLLM2
        return EmulatedServer(self._model, config, profile, section.speed)

    async def _end(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None
