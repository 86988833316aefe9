"""Work in a process of its own, at the lowest priority: the gateway's is for the calls."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from agentserve.gateway.tuning.errors import TuningError

Work = TypeVar("Work")
Result = TypeVar("Result")

ENDING = 5.0
"""Seconds that a process has to end after its last word."""


@dataclass(frozen=True, slots=True)
class _Done(Generic[Result]):
    result: Result


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why there is no result."""

    reason: str


async def apart(do: Callable[[Work], Result], work: Work) -> Result:
    """Does it in another process, which ends with this task. `do` is a function of a module.

    Raises:
        TuningError: `do` raised it, or anything else, or the process ended before its time; the message says why.
    """
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_run, args=(do, work, sender), name="tuning", daemon=True)
    starting = asyncio.get_running_loop().run_in_executor(None, process.start)  # waits until all is handed over
    try:
        await asyncio.shield(starting)
        sender.close()
        await _readable(receiver)
        try:
            answer: _Done[Result] | _Failed = receiver.recv()
        except EOFError:
            await asyncio.to_thread(process.join, ENDING)
            raise TuningError(_ended(process.exitcode)) from None
    finally:
        await starting
        process.kill()
        process.join()
        process.close()
        receiver.close()
    if isinstance(answer, _Failed):
        raise TuningError(answer.reason)
    return answer.result


async def _readable(receiver: Connection) -> None:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(receiver.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(receiver.fileno())


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the process that searched was killed ({signal.Signals(-code).name}), perhaps for want of memory"
    return f"the process that searched ended with code {code}; what it wrote on standard error says why"


def _run(do: Callable[[Work], Result], work: Work, sender: Connection) -> None:
    """What the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which then ends us
    os.nice(19)
    try:
        answer: _Done[Result] | _Failed = _Done(do(work))
    except TuningError as error:
        answer = _Failed(str(error))
    except Exception:
        answer = _Failed(f"the process that searched broke:\n{traceback.format_exc()}")
    sender.send(answer)
