"""Mixed traffic with disconnects, engines that die, and garbage: nothing may leak, and no answer may be wrong.

    python -m tests.benchmarks.soak [--seconds 600] [--clients 32] [--json FILE]

The gateway and two engines run in this process, on loopback ports, behind the server that users get. What an engine
answers follows from the prompt, so that every byte of an answer can be checked. Now and then an engine closes all its
connections and is away for a while. What the gateway remembers is bounded (`limits.remembered`, `program_idle_timeout`);
the bounds here are so low that all tables are full before memory is measured, so that what grows after that is a leak.
It ends with code 1 if a call leaked, an answer was wrong, or memory grew by more than a twentieth after the first sixth.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from agentserve.config import Config, parse
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.app import Gateway
from agentserve.gateway.assembly import gateway
from agentserve.gateway.server import http_server, listen
from scheduler.brain import Brain
from scheduler.events import ProgramEnded

MOST_GROWTH = 0.05
WARM_UP = 1 / 6
"""The part of the time after which memory is measured for the first time."""
REMEMBERED = 1000
IDLE_S = 20.0
AWAY_S = 0.5
"""For how long an engine that died is away."""
KILL_S = 5.0
"""Between two such deaths, on average."""
PATH = "/v1/chat/completions"
PAGES = {
    "/health": "",
    "/v1/models": '{"object": "list", "data": [{"id": "m", "max_model_len": 65536}]}',
    "/metrics": 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100000"} 1.0\n'
    "vllm:num_requests_running 0.0\nvllm:num_requests_waiting 0.0\nvllm:kv_cache_usage_perc 0.0\n",
}
GARBAGE = (b"", b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "messages": 5}', b"\xff\xfe", b'{"messages": [{}]}')


@dataclass
class Tally:
    """What came of the traffic."""

    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    deaths: int = 0
    leaked_calls: int = 0
    leaked_tokens: int = 0
    rss_mb: tuple[float, float] = (0.0, 0.0)
    """After the warm-up, and at the end."""

    @property
    def growth(self) -> float:
        """Of memory, as a share."""
        return self.rss_mb[1] / self.rss_mb[0] - 1 if self.rss_mb[0] else 0.0

    @property
    def clean(self) -> bool:
        """Nothing leaked, and no answer was wrong."""
        return not (self.wrong or self.leaked_calls or self.leaked_tokens)


def words_of(prompt: str, count: int) -> list[str]:
    """What an engine answers to a prompt, a token at a time."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return [f" {digest[index % 60 : index % 60 + 4]}" for index in range(count)]


class EchoEngine:
    """An engine of OpenAI's chat route whose answers follow from the prompt, and which can die."""

    def __init__(self) -> None:
        self.alive = True
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serves on a free loopback port while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            self.die()

    def die(self) -> None:
        """Breaks every connection in whatever it is doing."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while self.alive:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                await self._answer(head.split(b" ")[1].decode(), body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if not body:
            page = PAGES.get(path)
            status, text = ("200 OK", page) if page is not None else ("404 Not Found", "")
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
            return
        request = json.loads(body)
        if "messages" not in request:  # the gateway's own question, whether it answers at all
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}")
            return
        prompt, count = request["messages"][-1]["content"], request["max_tokens"]
        usage = {"prompt_tokens": len(prompt) // 4 + 1, "completion_tokens": count}
        if not request.get("stream"):
            message = {"role": "assistant", "content": "".join(words_of(prompt, count))}
            whole = json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage})
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(whole)}\r\n\r\n{whole}".encode())
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        deltas = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words_of(prompt, count)]
        events = [json.dumps(event) for event in (*deltas, {"choices": [], "usage": usage})]
        for event in (*events, "[DONE]"):
            data = f"data: {event}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(0.001)
        writer.write(b"0\r\n\r\n")


class Client:
    """One agent after another, each with a few calls, some of which are no calls at all."""

    def __init__(self, url: str, tally: Tally, seed: int) -> None:
        self._tally = tally
        self._random = random.Random(seed)
        self._name = f"client-{seed}"
        self._http = httpx.AsyncClient(base_url=url, timeout=60.0)

    async def run(self, until: float) -> None:
        """Goes on until that time of the loop's clock."""
        program = 0
        async with self._http:
            while asyncio.get_running_loop().time() < until:
                program += 1
                for turn in range(self._random.randint(1, 5)):
                    await self._turn(f"{self._name}-{program}", turn)

    async def _turn(self, program: str, turn: int) -> None:
        kind = self._random.choices(("stream", "whole", "leave", "garbage", "nowhere"), (6, 3, 2, 1, 1))[0]
        try:
            outcome = await getattr(self, f"_{kind}")(program, turn)
        except httpx.TransportError as error:
            outcome = f"wrong: the gateway broke the connection: {error!r}"
        self._tally.outcomes[f"{kind}: {outcome}"[:40]] += 1
        if outcome.startswith("wrong"):
            self._tally.wrong.append(f"{program}, {kind}: {outcome}")

    def _request(self, program: str, turn: int, stream: bool) -> tuple[dict[str, object], str]:
        prompt = f"{program} {turn} " + "word " * self._random.randint(1, 2000)
        count = self._random.randint(1, 60)
        messages = [{"role": "user", "content": prompt}]
        body = {"model": "m", "messages": messages, "max_tokens": count, "stream": stream}
        return body, "".join(words_of(prompt, count))

    async def _whole(self, program: str, turn: int) -> str:
        body, expected = self._request(program, turn, stream=False)
        answer = await self._http.post(PATH, json=body, headers={"x-agentserve-program": program})
        if answer.status_code != httpx.codes.OK:
            return self._refused(answer.status_code)
        got = answer.json()["choices"][0]["message"]["content"]
        return "right" if got == expected else f"wrong: {got[:50]!r}"

    async def _stream(self, program: str, turn: int, most: int = 1_000_000) -> str:
        body, expected = self._request(program, turn, stream=True)
        got = ""
        async with self._http.stream("POST", PATH, json=body, headers={"x-agentserve-program": program}) as answer:
            if answer.status_code != httpx.codes.OK:
                return self._refused(answer.status_code)
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return "right" if got == expected else f"wrong: {got[-50:]!r}"
                if line.startswith("data: {"):
                    event = json.loads(line[6:])
                    if "error" in event:
                        return "failed" if expected.startswith(got) else f"wrong before its error: {got[-50:]!r}"
                    got += event["choices"][0]["delta"]["content"] if event["choices"] else ""
                most -= 1
                if most < 0:
                    return "left"
        return "wrong: it ended without its end"

    async def _leave(self, program: str, turn: int) -> str:
        return await self._stream(program, turn, most=self._random.randint(0, 10))

    async def _garbage(self, program: str, turn: int) -> str:
        answer = await self._http.post(PATH, content=self._random.choice(GARBAGE))
        return "right" if answer.status_code == 400 else f"wrong: status {answer.status_code}"

    async def _nowhere(self, program: str, turn: int) -> str:
        answer = await self._http.post(PATH, json={"model": "x", "messages": []})
        return "right" if answer.status_code == 404 else f"wrong: status {answer.status_code}"

    def _refused(self, status: int) -> str:
        """Engines may have died; then, and only then, a call may fail."""
        died = status in (502, 503) and self._tally.deaths
        return f"status {status}" if died else f"wrong: status {status}"


async def soak(seconds: float, clients: int, seed: int = 1, kill_s: float = KILL_S) -> Tally:
    """Runs the traffic for so long, waits for its end, and counts what is left."""
    tally = Tally(seconds)
    async with AsyncExitStack() as stack:
        upstream = [EchoEngine(), EchoEngine()]
        for echo in upstream:
            await stack.enter_async_context(echo.serving())
        engines = [{"name": f"e{index}", "url": echo.url} for index, echo in enumerate(upstream)]
        pools = [{"model": "m", "engines": engines}]
        bounds = {"program_idle_timeout": IDLE_S, "limits": {"remembered": REMEMBERED}}
        config = parse({"listen": "127.0.0.1:0", "pools": pools, **bounds})
        brain = Brain(config.policy, idle_timeout=config.program_idle_timeout)
        app = await stack.enter_async_context(gateway(config, brain, build_engines(config, default_logs())))
        url = await stack.enter_async_context(_served(config, app))
        await _until(lambda: len(app.driver.engines) == len(upstream))
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        loop.call_later(seconds * WARM_UP, _weigh, tally)
        killer = asyncio.create_task(_kill(upstream, tally, random.Random(seed), kill_s))
        await asyncio.gather(*(Client(url, tally, seed * 1000 + number).run(until) for number in range(clients)))
        killer.cancel()
        tally.rss_mb = (tally.rss_mb[0], _rss_mb())
        await _until(lambda: not brain.calls)
        brain.check_integrity()
        tally.leaked_calls = len(brain.calls) + sum(len(engine.running) for engine in brain.engines.values())
        for program in list(brain.programs):
            app.driver.handle(ProgramEnded(app.driver.now(), program))
        tally.leaked_tokens = sum(engine.account.occupied for engine in brain.engines.values())
    return tally


async def _kill(upstream: list[EchoEngine], tally: Tally, chance: random.Random, kill_s: float) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.5, 1.5) * kill_s)
        victim = chance.choice(upstream)
        tally.deaths += 1
        victim.alive = False
        victim.die()
        await asyncio.sleep(AWAY_S)
        victim.alive = True


def _weigh(tally: Tally) -> None:
    tally.rss_mb = (_rss_mb(), 0.0)


def _rss_mb() -> float:
    """Of this process; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@asynccontextmanager
async def _served(config: Config, app: Gateway) -> AsyncIterator[str]:
    listener, server = listen(config), http_server(config, app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def _until(condition: Callable[[], bool]) -> None:
    """Waits for what has to happen soon; what follows says whether it has."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    tally = asyncio.run(soak(options.seconds, options.clients))
    value = {**vars(tally), "growth": round(tally.growth, 4)}
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    if options.json:
        options.json.write_text(json.dumps(value, indent=2) + "\n")
    return 0 if tally.clean and tally.growth <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
