"""Many virtual calls at once through the gateway: is any sample lost or call leaked, and what does a segment cost?

The engines are emulated, in a process of their own, so that this process's CPU time is the gateway's (and its
clients', who send one request each). A segment is what a draft or a takeover writes; its verification is in its cost.

    python -m tests.benchmarks.reasoner_load --json docs/results/reasoner-load.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvloop

from agentserve.config import parse
from agentserve.engines.emulated import EmulatedServer
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.assembly import gateway
from scheduler.procedures.base import Stage
from simulator.engine import EngineConfig
from simulator.profile import CPU_SMOLLM2
from tests.benchmarks.reasoner.arms import CountingBrain
from tests.gateway.world import CHAT, eventually

MODELS = ("draft", "target")
SAMPLES, TURNS, SEGMENT = 16, 4, 16
SPEED = 2.0
"""So many times faster than the modelled CPU."""
APART = 0.1
"""Seconds between two calls, which all last much longer."""
SETTINGS = {
    "model": "reasoner", "kind": "atts", "draft": "draft", "target": "target", "samples": SAMPLES, "turns": TURNS,
    "segment_tokens": SEGMENT, "answer": {"regex": r"(\w+)\.$"}, "decided": None, "certain": None,
}  # fmt: skip


async def serve_engines() -> None:
    """Serves both engines, and prints their URLs, until its standard input ends."""
    size = EngineConfig(num_blocks=65_536, block_size=32, max_model_len=8192, max_num_seqs=512)
    servers = [EmulatedServer(model, size, CPU_SMOLLM2, SPEED) for model in MODELS]
    try:
        urls = [await server.start() for server in servers]
        sys.stdout.write(" ".join(urls) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        for server in servers:
            await server.stop()


@asynccontextmanager
async def engines() -> AsyncIterator[list[str]]:
    """The URLs of two engines in another process, which is ended on leaving."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.benchmarks.reasoner_load", "--engines")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().split()
    finally:
        process.stdin.close()
        await process.wait()


async def measure(calls: int) -> dict[str, object]:
    """Asks all. Raises `AssertionError` if a sample is lost or a call leaked."""
    async with engines() as urls:
        pools = [
            {"model": model, "engines": [{"name": model, "url": url, "priority": True}]}
            for model, url in zip(MODELS, urls, strict=True)
        ]
        config = parse({"pools": pools, "virtual": [SETTINGS]})
        brain = CountingBrain(config.policy)
        async with gateway(config, brain, build_engines(config, default_logs())) as app:
            await eventually(lambda: len(app.driver.engines) == len(MODELS), "the start of the engines", 60.0)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=None) as client:
                began, cpu = time.monotonic(), time.process_time()
                crowd = Crowd(client)
                asked = (crowd.ask(number) for number in range(calls))
                answers = [answer.raise_for_status().json() for answer in await asyncio.gather(*asked)]
                seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            await eventually(lambda: not brain.calls, "the end of all calls", 60.0)
            brain.check_integrity()
            left = len(brain.programs)
    assert not left, f"{left} programs were leaked"
    voters = [answer["agentserve"]["voters"] for answer in answers]
    assert voters == [SAMPLES] * calls, f"samples were lost: {voters}"
    drafted, taken = brain.counts[Stage.VERIFY], brain.counts[Stage.TAKEOVER]
    return {
        "calls": calls,
        "most_calls_at_once": crowd.most,
        "samples": sum(voters),
        "samples_lost": calls * SAMPLES - sum(voters),
        "calls_leaked": left,
        "segments": drafted + taken,
        "verifications": drafted,
        "takeover_rate": round(taken / drafted, 4),
        "seconds": round(seconds, 1),
        "gateway_cpu_ms_a_segment": round(1000 * cpu / (drafted + taken), 3),
        "gateway_cpu_ms_a_step": round(1000 * cpu / (2 * drafted + taken), 3),
        "degraded": sum(answer["agentserve"]["degraded"] for answer in answers),
    }


class Crowd:
    """The clients, and how many of them wait for an answer at once."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._waiting = 0
        self.most = 0

    async def ask(self, number: int) -> httpx.Response:
        """One client, who comes in its turn."""
        await asyncio.sleep(APART * number)
        self._waiting += 1
        self.most = max(self.most, self._waiting)
        try:
            messages = [{"role": "user", "content": f"Question {number}: " + "words " * 50}]
            return await self._client.post(CHAT, json={"model": "reasoner", "messages": messages})
        finally:
            self._waiting -= 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--engines", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engines:
        asyncio.run(serve_engines())
        return
    command = f"python -m tests.benchmarks.reasoner_load --calls {options.calls}"
    report = {"command": command, "settings": SETTINGS, "found": uvloop.run(measure(options.calls))}
    text = json.dumps(report, indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
