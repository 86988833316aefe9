"""A search of its own process, at the lowest priority: the gateway's is for the calls."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

from agentserve.gateway.tuning.errors import TuningError
from scheduler.policy import PolicyConfig, PolicyError
from simulator.client import ClientRules
from simulator.compare import Setting
from simulator.fleet import EngineModel
from simulator.gateway import SimulationError
from simulator.trace import Trace
from simulator.tune.bench import Bench
from simulator.tune.objective import Objective
from simulator.tune.outcome import Outcome
from simulator.tune.plan import Plan
from simulator.tune.space import knobs
from simulator.tune.workers import here
from workloads import traces
from workloads.program import WorkloadError
from workloads.traces.recording import RECORDING, RecordedCall

FEWEST = 20
"""Programs without which a search would only find accidents."""
RULES = ClientRules(announce_end=False, exact_lengths=False)
"""Clients are taken to say neither when their programs end nor how long answers will be: most do not."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a search is to be made of."""

    calls: tuple[RecordedCall, ...]
    fleet: tuple[EngineModel, ...]
    policy: PolicyConfig
    objective: Objective
    plan: Plan


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there was no search."""

    reason: str


Answer: TypeAlias = Outcome | Refusal


async def search(order: Order) -> Outcome:
    """Searches in another process, which ends with this task.

    Raises:
        TuningError: the traffic is no good for a search, or the process ended before its time.
    """
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_work, args=(order, sender), name="tuning", daemon=True)
    starting = asyncio.get_running_loop().run_in_executor(None, process.start)  # waits until all calls are handed over
    try:
        await asyncio.shield(starting)
        sender.close()
        answer = await _receive(receiver)
    finally:
        await starting
        process.kill()
        process.join()
        process.close()
        receiver.close()
    if isinstance(answer, Refusal):
        raise TuningError(answer.reason)
    return answer


async def _receive(receiver: Connection) -> Answer:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(receiver.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(receiver.fileno())
    try:
        answer: Answer = receiver.recv()
    except EOFError:
        raise TuningError("the process that searched was killed, perhaps for want of memory") from None
    return answer


def _work(order: Order, sender: Connection) -> None:
    """What the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which then ends us
    os.nice(19)
    sender.send(find(order))


def find(order: Order) -> Answer:
    """Searches here."""
    from simulator.tune.search import Search  # imports Optuna, which the gateway's own process can do without

    try:
        bench = _bench(order)
        if len(bench.families) < FEWEST:
            return Refusal(f"{len(bench.families)} programs are too few to search with; it takes {FEWEST}")
        with here(bench) as run:
            return Search(order.policy, knobs(order.policy, len(order.fleet)), order.plan, run).outcome()
    except (WorkloadError, SimulationError, PolicyError) as error:
        return Refusal(str(error))


def _bench(order: Order) -> Bench:
    limit = min(engine.config.max_model_len for engine in order.fleet)
    with tempfile.TemporaryDirectory(prefix="agentserve-tuning-") as folder:
        path = Path(folder) / "calls.jsonl"
        RECORDING.write(path, order.calls)
        trace = Trace(lambda: traces.load(path, context_tokens=limit), order.fleet)
        return Bench.of(trace, Setting(order.fleet, rules=RULES), order.objective)
