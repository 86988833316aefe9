"""What it costs that several gateways share a brain: a remote decision, and CPU and calls a second by gateway.

    python -m tests.benchmarks.gateways [--calls 2000] [--seconds 20] [--json FILE]
    python -m tests.benchmarks.gateways --written       what the log's lines and the channel cost, in this process alone

Two gateways, two emulated engines that answer at once, a Redis server, each a process. First, short calls go one by one
to the gateway with the brain and to the one without, in turn; then 32 clients ask without a pause, one gateway, or both.
Clients and engines share the machine with the gateways: the CPU time of each process says what bounds the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from agentserve.commands.common import out
from agentserve.state.redis import RedisStore
from scheduler.codec import decode, encode
from scheduler.events import CallArrived, CallFinished, CallFirstToken, CallSent, Event
from scheduler.log import event_line
from scheduler.types import CallId, PrefixMark, ProgramKey, TenantId, Usage
from tests.cell.cluster import CELL, Cluster, GatewayProcess, Mortal, cluster

CHAT = "/v1/chat/completions"
CLIENTS = 32
WARM = 50
SPEED = 1000.0
"""An engine's step takes a twentieth of a millisecond."""


def cpu_seconds(process: Mortal) -> float:
    """CPU time that a process has taken."""
    assert process.process is not None
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def call(client: httpx.AsyncClient, gateway: GatewayProcess, program: str) -> float:
    """One call; returns its seconds."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi " * 50}], "max_tokens": 1}
    headers = {"x-agentserve-program": program, "x-agentserve-final": "true"}
    began = time.perf_counter()
    answer = await client.post(gateway.url + CHAT, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-agentserve-why"] != "forwarded", "there is no brain"
    return time.perf_counter() - began


async def decisions(found: Cluster, calls: int) -> dict[str, float]:
    """Local and remote decisions in turn, and the CPU time of both gateways for each kind."""
    leader = await asyncio.to_thread(found.settle)
    follower = next(gateway for gateway in found.gateways if gateway is not leader)
    times: dict[str, list[float]] = {"local": [], "remote": []}
    names = itertools.count()
    async with httpx.AsyncClient(timeout=60) as client:
        for _ in range(WARM):
            await call(client, leader, f"w{next(names)}")
            await call(client, follower, f"w{next(names)}")
        for _ in range(calls):
            times["local"].append(await call(client, leader, f"p{next(names)}"))
            times["remote"].append(await call(client, follower, f"p{next(names)}"))
        cpu = {}
        for kind, gateway in (("local", leader), ("remote", follower)):
            before = cpu_seconds(leader), cpu_seconds(follower)
            for _ in range(calls):
                await call(client, gateway, f"p{next(names)}")
            for name, process, was in (("leader", leader, before[0]), ("follower", follower, before[1])):
                cpu[f"{kind}_call_cpu_of_{name}_ms"] = 1000 * (cpu_seconds(process) - was) / calls
    quantiles = {
        f"{kind}_p{percent}_ms": 1000 * sorted(values)[len(values) * percent // 100]
        for kind, values in times.items()
        for percent in (50, 99)
    }
    return {**quantiles, **cpu, "log_bytes_a_call": await log_bytes(found)}


async def log_bytes(found: Cluster) -> float:
    """Bytes of the log since the last snapshot, a call that ended in it."""
    store = RedisStore(found.redis.url, CELL)
    await store.open()
    try:
        saved = await store.restore()
    finally:
        await store.close()
    assert saved is not None
    log = b"\n".join(saved.log)
    return len(log) / max(1, log.count(b'"CallFinished"'))


async def throughput(found: Cluster, through: Sequence[GatewayProcess], seconds: float) -> dict[str, float]:
    """Calls a second by clients that ask without a pause, and the CPU that each process took of one core."""
    processes: list[Mortal] = [*found.gateways, *found.engines]
    before = {process.name: cpu_seconds(process) for process in processes}
    own, began, done = time.process_time(), time.monotonic(), 0

    async def ask(number: int, client: httpx.AsyncClient) -> None:
        nonlocal done
        for turn in itertools.count():
            if time.monotonic() - began > seconds:
                return
            await call(client, through[number % len(through)], f"t{len(through)}-{number}-{turn}")
            done += 1

    async with httpx.AsyncClient(timeout=60) as client:
        await asyncio.gather(*(ask(number, client) for number in range(CLIENTS)))
    took = time.monotonic() - began
    cores = {
        f"cores_{name}": (cpu_seconds(process) - before[name]) / took
        for process in processes
        for name in (process.name,)
    }
    return {"calls_a_second": done / took, **cores, "cores_clients": (time.process_time() - own) / took}


async def measure(found: Cluster, calls: int, seconds: float) -> dict[str, dict[str, float]]:
    """Everything."""
    figures = {"decisions": await decisions(found, calls)}
    leader = await asyncio.to_thread(found.settle)
    follower = next(gateway for gateway in found.gateways if gateway is not leader)
    for name, through in (("one", [leader]), ("two", [leader, follower])):
        figures[f"throughput_{name}"] = await throughput(found, through, seconds)
    return figures


def written(rounds: int = 500, repeats: int = 5) -> dict[str, float]:
    """CPU microseconds a call, the least of some repeats: its four events as lines of the log, and out and in by the channel."""
    key = ProgramKey(TenantId("default"), "program-1234")
    marks = tuple(PrefixMark(number << 40, 600 * number) for number in range(1, 20))
    name = CallId("call-1")
    events: list[Event] = [
        CallArrived(1.0, name, key, "m", 12_000, marks, 3000, workflow="swe", stage="plan"),
        CallSent(1.0, name),
        CallFirstToken(1.2, name),
        CallFinished(2.0, name, Usage(3000, 120, 2800), ("bash",)),
    ]

    def logged() -> None:
        for event in events:
            event_line(event, ())

    def carried() -> None:
        for item in json.loads(json.dumps([encode(event) for event in events], separators=(",", ":"))):
            decode(item)

    def cost(work: Callable[[], None]) -> float:
        began = time.process_time()
        for _ in range(rounds):
            work()
        return 1e6 * (time.process_time() - began) / rounds

    return {
        kind: min(cost(work) for _ in range(repeats)) for kind, work in (("log_us", logged), ("channel_us", carried))
    }


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--written", action="store_true", help="Only what is written for a call.")
    options = parser.parse_args()
    if options.written:
        out.print_json(json.dumps(written()))
        return 0
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), gateways=2, engines=2, speed=SPEED) as found:
        figures = asyncio.run(measure(found, options.calls, options.seconds))
    text = json.dumps(figures)
    out.print_json(text)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
