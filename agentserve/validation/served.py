"""A gateway in a process of its own, with the engines of a configuration, under a policy of our choice."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

import httpx
import yaml
from pydantic import BaseModel, ValidationError

from agentserve.engines.base import EngineError, Progress
from agentserve.engines.process import LoggedProcess
from agentserve.policyfile import policy_text
from scheduler.policy import PolicyConfig
from scheduler.types import EngineSpec, Seconds

HOST = "127.0.0.1"
READY_LIMIT: Seconds = 1800.0
"""As long as the gateway itself gives an engine."""
STOP_LIMIT: Seconds = 45.0
"""The gateway stops its engines first."""
KEPT_APART = ("listen", "policy", "state", "event_log", "record", "tune")
"""Keys of a configuration that are ours here: a validation leaves no trace in what its owner keeps."""
LAST_LINES = 12


class ServedEngine(BaseModel):
    """An engine, as the gateway reports it. Its spec is what the probe found."""

    name: str
    model: str
    url: str
    state: str
    problem: str
    spec: EngineSpec | None


class _Engines(BaseModel):
    engines: list[ServedEngine]


class ServedGateway:
    """`agentserve serve`, while the context lasts. Its log and its configuration are in `folder`.

    What it learns is lost, unless `state` names a file to go on from.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        policy: PolicyConfig,
        folder: Path,
        name: str,
        awaited: Collection[str],
        progress: Progress,
        state: Path | None = None,
    ) -> None:
        self._settings = {key: value for key, value in config.items() if key not in KEPT_APART}
        if state is not None:
            self._settings["state"] = str(state)
        self._policy = policy
        self._file = folder / f"{name}.yaml"
        self._log = folder / f"{name}.log"
        self._awaited = awaited
        self._progress = progress
        self._port = 0
        self._process: LoggedProcess | None = None

    @property
    def url(self) -> str:
        """Where clients go."""
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        """Returns when every engine that is awaited is up.

        Raises:
            EngineError: the gateway ended, or its engines did not come up; the message has the end of its log.
        """
        with socket.socket() as free:
            free.bind((HOST, 0))
            self._port = free.getsockname()[1]
        settings = {"listen": f"{HOST}:{self._port}", **self._settings}
        self._file.write_text(yaml.safe_dump(settings, sort_keys=False) + policy_text(self._policy), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(self._file)]
        self._process = await LoggedProcess.spawn(command, os.environ, self._log)
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self._process.stop(STOP_LIMIT)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends the process, and with it the engines that it launched."""
        if self._process is not None:
            await self._process.stop(STOP_LIMIT)

    async def engines(self) -> list[ServedEngine]:
        """The engines as the gateway sees them now.

        Raises:
            EngineError: it does not say.
        """
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            try:
                answer = (await http.get("/agentserve/v1/engines")).raise_for_status()
                return _Engines.model_validate_json(answer.content).engines
            except (httpx.HTTPError, ValidationError) as error:
                raise EngineError(f"the gateway at {self.url} does not tell its engines: {error}") from error

    async def _until_ready(self, process: LoggedProcess) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while missing := await self._missing():
            await process.wait(0.5)
            lasted = loop.time() - began
            lines = process.lines()
            if process.exit_code is not None or lasted > READY_LIMIT:
                told = "\n  ".join(lines[-LAST_LINES:])
                raise EngineError(f"the gateway did not come up, for want of {missing}; its log ends with\n  {told}")
            self._progress(f"{lasted:.0f} s for {missing}: {lines[-1] if lines else 'nothing logged yet'}")

    async def _missing(self) -> str:
        """What has to come up yet, in words; empty if nothing has."""
        try:
            up = {engine.name for engine in await self.engines() if engine.state == "up"}
        except EngineError:
            return "an answer"
        return ", ".join(f"engine {name}" for name in self._awaited if name not in up)
