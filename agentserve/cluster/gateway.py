"""A gateway as a Ray actor: it owns the gateway's process, and starts it again when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from agentserve.cluster.engine import EngineState, node_id
from agentserve.cluster.section import ClusterFile
from agentserve.engines.process import LoggedProcess


class GatewayActor:
    """One gateway on the node where Ray has put it."""

    def __init__(self, name: str, file: str) -> None:
        """`file` is a `ClusterFile` as JSON."""
        self._file = ClusterFile.model_validate_json(file)
        self._folder = Path(tempfile.mkdtemp(prefix=f"agentserve-{name}-"))
        self._port = self._file.gateway.port or _free_port(self._file.gateway.host)
        self._process: LoggedProcess | None = None

    async def state(self) -> EngineState:
        """How it is; its process is started, or started again, when this is asked for."""
        gateway = self._file.gateway
        listen = f"{gateway.host}:{self._port}"
        problem = ""
        if self._process is not None and self._process.exit_code is not None:
            problem = f"it ended with exit code {self._process.exit_code}: {' '.join(self._process.lines()[-3:])}"
            self._process = None
        if self._process is None:
            config = self._folder / "agentserve.json"
            config.write_text(json.dumps(self._file.gateway_settings(listen), default=str))
            words = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(config)]
            self._process = await LoggedProcess.spawn(words, dict(os.environ), self._folder / "gateway.log")
        state = "waiting" if problem else "up"
        return EngineState(state=state, url=f"http://{listen}", problem=problem, node=node_id())

    async def stop(self) -> None:
        """Ends the process; it finishes its streams first."""
        if self._process is not None:
            await self._process.stop(grace=self._file.drain)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as free:
        port: int = free.getsockname()[1]
    return port
