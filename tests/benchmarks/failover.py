"""Kills the brain's gateway again and again under load, by SIGKILL, and says what became of the programs.

    python -m tests.benchmarks.failover [--kills 20] [--programs 200] [--seed 1] [--json FILE]

Real processes: a Redis server, four emulated engines, three gateways. Each program makes streamed calls with pauses
through gateways chosen at random; a call whose gateway was killed is made again through another one, as an agent's
client does. The gateway that was killed is started again, and once all follow the brain the next one dies. It ends with
code 1 if a program was lost, a stream through a living gateway broke, an answer was not whole, a new decision took
longer than three seconds, or the brain in the store, at the end, still holds anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from agentserve.commands.common import out
from scheduler.brain import Brain
from tests.cell.cluster import Cluster, GatewayProcess, cluster

CHAT = "/v1/chat/completions"
MODEL = "m"
MOST_S = 3.0
"""From a kill to the next decision of a brain."""
TURNS = 4
OUTPUT = 12
CLOSING_S = 60.0
"""For what is under way at the end, and for the last group of the log."""


@dataclass
class Tally:
    """What came of it; times in seconds."""

    seed: int
    kills: int = 0
    programs: int = 0
    calls: int = 0
    repeated: int = 0
    """Calls that were made again because their gateway had been killed."""
    why: Counter[str] = field(default_factory=Counter)
    fail_over_s: list[float] = field(default_factory=list)
    """From each kill to the first answer, begun after it, that a brain had decided on."""
    wrong: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        ordered = sorted(self.fail_over_s)
        middle = ordered[len(ordered) // 2] if ordered else None
        whys = dict(self.why)  # asdict would make a counter of pairs of it
        return {
            **asdict(self),
            "why": whys,
            "fail_over_median_s": middle,
            "fail_over_max_s": max(ordered, default=None),
        }


class Load:
    """Programs until told to stop."""

    def __init__(self, found: Cluster, tally: Tally, gap: float) -> None:
        self._found = found
        self._tally = tally
        self._gap = gap
        self._rng = random.Random(tally.seed)
        self.stopping = False
        self._client = httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None))

    async def run(self, programs: int) -> None:
        """So many programs at a time, one after another."""
        await asyncio.gather(*(self._agent(slot) for slot in range(programs)))
        await self._client.aclose()

    async def _agent(self, slot: int) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._gap))
        number = 0
        while not self.stopping:
            number += 1
            name = f"program-{slot}-{number}"
            messages = [{"role": "user", "content": f"{name} " * 40}]
            for turn in range(TURNS):
                final = turn == TURNS - 1 or self.stopping
                text = await self._call(name, messages, final=final)
                messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "go on " * 20}]
                if final:
                    break
                await asyncio.sleep(self._rng.expovariate(1 / self._gap))
            self._tally.programs += 1

    async def _call(self, name: str, messages: list[dict[str, str]], *, final: bool) -> str:
        """The answer's text, from whichever gateway lives to give it whole."""
        while True:
            gateway = self._rng.choice([gateway for gateway in self._found.gateways if gateway.alive])
            began = time.monotonic()
            try:
                text = await self._stream(gateway, name, messages, final=final)
            except httpx.ConnectError:  # it is being started again: nothing had begun
                await asyncio.sleep(0.05)
            except httpx.TransportError as error:
                if not any(death >= began for death in gateway.deaths):
                    self._tally.wrong.append(f"{name}: {gateway.name} was alive and broke off: {error!r}")
                self._tally.repeated += 1
                await asyncio.sleep(0.05)
            else:
                self._tally.calls += 1
                return text

    async def _stream(self, gateway: GatewayProcess, name: str, messages: list[dict[str, str]], *, final: bool) -> str:
        headers = {"x-agentserve-program": name, "x-agentserve-workflow": "chaos"}
        if final:
            headers["x-agentserve-final"] = "true"
        body = {"model": MODEL, "messages": messages, "max_tokens": OUTPUT, "stream": True, "ignore_eos": True}
        async with self._client.stream("POST", gateway.url + CHAT, json=body, headers=headers) as answer:
            if answer.status_code != 200:
                text = (await answer.aread()).decode()
                if "no_engine" in text:
                    raise httpx.ConnectError("it is not /ready yet: it was started again just now")
                self._tally.wrong.append(f"{name}: status {answer.status_code}: {text[:200]}")
                return ""
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        if lines.count("data: [DONE]") != 1:
            self._tally.wrong.append(f"{name}: {lines.count('data: [DONE]')} ends of one stream: {lines[-1:]}")
        self._tally.why[answer.headers.get("x-agentserve-why", "held")] += 1
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


async def decided(gateway: GatewayProcess, number: int) -> float:
    """When a call that began now, or one that followed it, was decided by a brain."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
    headers = {"x-agentserve-program": f"probe-{number}", "x-agentserve-final": "true"}
    async with httpx.AsyncClient(timeout=60) as client:
        while True:
            answer = await client.post(gateway.url + CHAT, json=body, headers=headers)
            if answer.status_code == 200 and answer.headers["x-agentserve-why"] != "forwarded":
                return time.monotonic()
            await asyncio.sleep(0.02)


async def kill_once(found: Cluster, tally: Tally, rng: random.Random) -> None:
    """The brain's gateway dies, another takes over, and the dead one is started again."""
    victim = await asyncio.to_thread(found.settle)
    await asyncio.sleep(rng.uniform(0.5, 2.5))
    victim.kill()
    died = victim.deaths[-1]
    survivor = rng.choice([gateway for gateway in found.gateways if gateway.alive])
    took = await decided(survivor, tally.kills) - died
    tally.kills += 1
    tally.fail_over_s.append(round(took, 3))
    out.print(f"kill {tally.kills}: {victim.name} died; {survivor.name} had a decision after {took:.2f} s")
    victim.start()


def held(brain: Brain) -> list[str]:
    """What a brain still holds."""
    brain.check_integrity()
    engines = [f"{name}: {engine.account.occupied} tokens" for name, engine in brain.engines.items()]
    return [
        *(f"call {call}" for call in brain.calls),
        *(f"program {program}" for program in brain.programs),
        *(text for text in engines if not text.endswith(": 0 tokens")),
    ]


async def check_books(found: Cluster, tally: Tally) -> None:
    """Waits until nothing is held any more, by the brain in the store and by the engines."""
    deadline = time.monotonic() + CLOSING_S
    while left := held(await found.brain()):
        if time.monotonic() > deadline:
            tally.wrong.append(f"the brain still holds {left[:5]}, {len(left)} in all")
            break
        await asyncio.sleep(0.5)
    async with httpx.AsyncClient() as client:
        for url in found.engines:
            status = (await client.get(f"{url}/agentserve/v1/pins")).json()
            if status["free_blocks"] != status["total_blocks"]:
                tally.wrong.append(f"an engine has {status['free_blocks']} of {status['total_blocks']} blocks free")


async def play(found: Cluster, tally: Tally, *, kills: int, programs: int, gap: float, most: float = MOST_S) -> None:
    """The whole run. A new decision may take `most` seconds."""
    rng = random.Random(tally.seed + 1)
    load = Load(found, tally, gap)
    loading = asyncio.create_task(load.run(programs))
    for _ in range(kills):
        await kill_once(found, tally, rng)
    await asyncio.to_thread(found.settle)
    load.stopping = True
    await loading
    await check_books(found, tally)
    slow = [took for took in tally.fail_over_s if took > most]
    if slow:
        tally.wrong.append(f"{len(slow)} of {kills} took over {most:g} s: {slow}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--gap", type=float, default=20.0, help="mean seconds between two calls of a program")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lease", type=float, default=1.5, help="seconds (`store.lease`)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tally = Tally(options.seed)
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), lease=options.lease) as found:
        asyncio.run(play(found, tally, kills=options.kills, programs=options.programs, gap=options.gap))
    summary = tally.summary()
    out.print_json(json.dumps(summary))
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
