"""What a node's call does: a tool runs, or the program makes a chat completion."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from typing import Any

from agentserve.client.aio import AsyncProgram
from agentserve.client.answer import Answer
from agentserve.client.base import Ahead, Messages
from agentserve.client.tools import Effect, Tool
from agentserve.graphs.calls import Call
from agentserve.graphs.errors import NodeError
from agentserve.graphs.machine import Machine
from agentserve.graphs.node import Kind
from agentserve.graphs.prompt import Prompt

THREADS = 64
"""Tools that block and may run at the same time, in one graph."""


class Performer:
    """Performs calls for one graph. `answers` are those of its LLM nodes."""

    def __init__(
        self,
        machine: Machine,
        program: AsyncProgram | None,
        tools: Mapping[str, Tool[Any, Any]],
        prompts: Mapping[str, Prompt],
        fields: Mapping[str, Any],
        is_last: Callable[[], bool],
    ) -> None:
        """`fields` are the API's own of prompts; `is_last` tells whether the call that begins is the program's last."""
        self.answers: dict[str, Answer] = {}
        self.dry = False
        """Irreversible tools only say what they would do."""
        self._machine = machine
        self._program = program
        self._tools = tools
        self._prompts = prompts
        self._fields = fields
        self._is_last = is_last
        self._threads: ThreadPoolExecutor | None = None

    async def perform(self, call: Call) -> object:
        """The call's value."""
        return await (self._ask(call) if call.work.is_llm else self._run(call))

    def close(self) -> None:
        """Lets threads go whose tools still run; nobody waits for them."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def _run(self, call: Call) -> object:
        tool, (args, kwargs) = self._tools[call.work.name], call.args
        if tool.effect is Effect.IRREVERSIBLE:
            said = None if tool.dry_run is None else tool.dry_run(*args, **kwargs)
            if self.dry:
                return said
        with nullcontext() if self._program is None else self._program.running(tool.name):
            if tool.is_async:
                return await tool.function(*args, **kwargs)
            return await self._in_thread(partial(tool.function, *args, **kwargs))

    async def _in_thread(self, function: Callable[[], object]) -> object:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "agentserve-tools")
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, function)

    async def _ask(self, call: Call) -> str:
        program = self._program
        if program is None:
            raise NodeError("LLM nodes need a program")
        messages, fields = self._messages(call)
        name = call.node
        ahead = Ahead(self._machine.chain(name), self._machine.calls.asking - 1, self._machine.joins(name))
        stage, final = call.work.name or None, self._is_last()
        answer = await program.chat(messages, stage=stage, final=final, ahead=ahead, **fields)
        self.answers[name] = answer
        return answer.text

    def _messages(self, call: Call) -> tuple[Messages, dict[str, Any]]:
        args, kwargs = call.args
        if call.work.kind is Kind.PROMPT:
            prompt = self._prompts[call.work.name]
            return prompt.make(*args, **kwargs), {**self._fields, **prompt.fields}
        messages: Any = kwargs["messages"]
        return messages, {name: value for name, value in kwargs.items() if name != "messages"}
