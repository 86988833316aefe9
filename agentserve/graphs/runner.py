"""Runs what a machine starts, as tasks of the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from agentserve.client.tools import Effect
from agentserve.graphs.calls import Call, Start
from agentserve.graphs.errors import NodeError
from agentserve.graphs.machine import Machine


class Runner:
    """One task a running call. `woken` is set when somebody has to look at the machine: it rests, or nodes are held."""

    def __init__(self, machine: Machine, perform: Callable[[Call], Awaitable[object]]) -> None:
        self.woken = asyncio.Event()
        self.started = 0
        self._machine = machine
        self._perform = perform
        self._tasks: dict[int, asyncio.Task[object]] = {}
        self._loop = asyncio.get_running_loop()

    def pump(self) -> None:
        """Does what the machine wants now."""
        for command in self._machine.take():
            number = command.call.number
            if isinstance(command, Start):
                self.started += 1
                task = self._tasks[number] = self._loop.create_task(self._run(command))
                task.add_done_callback(partial(self._ended, command.call))
            elif number in self._tasks:
                self._tasks[number].cancel()
        if not self._machine.running or self._machine.waits:
            self.woken.set()

    async def close(self) -> None:
        """Cancels all that has not ended, and waits until it has."""
        self._machine.cancel_all()
        self.pump()
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _run(self, start: Start) -> object:
        if start.pause:
            await asyncio.sleep(start.pause)
        call = start.call
        if call.policy.timeout is None:
            return await self._perform(call)
        try:
            async with asyncio.timeout(call.policy.timeout) as limit:
                return await self._perform(call)
        except TimeoutError:
            if not limit.expired():
                raise
            perhaps = "; whether it happened is not known" if call.work.effect is Effect.IRREVERSIBLE else ""
            raise TimeoutError(f"{call.work.name} took longer than {call.policy.timeout:g} s{perhaps}") from None

    def _ended(self, call: Call, task: asyncio.Task[object]) -> None:
        if self._tasks.get(call.number) is task:
            del self._tasks[call.number]
        if task.cancelled():
            self._machine.failed(call, NodeError(f"{call.work.name} was cancelled from outside"))
        elif (error := task.exception()) is not None:
            self._machine.failed(call, error)
        else:
            self._machine.succeeded(call, task.result())
        self.pump()
