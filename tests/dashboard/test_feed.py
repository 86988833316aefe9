"""The feed of a whole gateway, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from agentserve.dashboard.feed import BACKLOG, MAX_WATCHERS, Watching
from agentserve.dashboard.states import State
from agentserve.gateway.tenants.keys import Role, changing
from tests.dashboard.mirror import Mirror
from tests.gateway.fakes import DONE, STOP, USAGE, WORDS, FakeReply, Piece
from tests.gateway.world import CHAT, World, chat, eventually, world

WATCH = "/agentserve/v1/watch"
NAMED = {"x-agentserve-program": "run/7", "x-agentserve-workflow": "swe"}


class Watcher:
    """Reads the feed until a condition holds."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.mirror = Mirror()
        self.frames: list[dict[str, Any]] = []
        self._lines = answer.aiter_lines()

    async def until(self, what: str) -> None:
        """Reads on until a program was seen in a state, as `run/7 decode`, or the last line."""
        name, _, state = what.partition(" ")
        async with asyncio.timeout(10):
            while State[state.upper()] not in self.mirror.seen.get(name, ()):
                await self.next()

    async def next(self) -> dict[str, Any]:
        async for line in self._lines:
            if line.startswith("data: "):
                frame: dict[str, Any] = json.loads(line[6:])
                self.frames.append(frame)
                self.mirror.take(frame)
                return frame
        raise AssertionError("the feed has ended")


@asynccontextmanager
async def watching(w: World) -> AsyncIterator[Watcher]:
    async with w.client.stream("GET", WATCH) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Watcher(answer)


async def test_what_happens_is_told_as_it_happens() -> None:
    async with world() as w, watching(w) as watcher:
        first = await watcher.next()
        assert (first["whole"], first["source"], first["policy"]["name"]) == (True, "live", "vllm")
        hold = asyncio.Event()
        pieces: list[Piece] = [WORDS[0], hold, WORDS[1], STOP, USAGE, DONE]
        w.engine.script.append(FakeReply(pieces, headers={"content-type": "text/event-stream"}))
        call = asyncio.create_task(w.client.post(CHAT, json=chat(stream=True), headers=NAMED))
        await watcher.until("run/7 decode")
        assert watcher.mirror.rows["run/7"].engine == "a"
        hold.set()
        await call
        await watcher.until("run/7 gap")


async def test_a_program_shows_its_calls_and_why_each_went() -> None:
    async with world() as w, watching(w) as watcher:
        await watcher.next()
        answer = await w.client.post(CHAT, json=chat(), headers=NAMED)
        (call,) = (await w.client.get("/agentserve/v1/calls", params={"program": "run/7"})).json()["calls"]
        assert call["call"] == answer.headers["x-agentserve-call"]
        assert (call["status"], call["engine"], call["why"]) == ("finished", "a", "direct")
        assert call["waited"] == "it did not have to wait"
        assert (call["prompt"], call["output"]) == (12, 2)
        assert (await w.client.get("/agentserve/v1/calls", params={"program": "other"})).json() == {"calls": []}


async def test_a_call_has_a_story_where_there_is_a_log(tmp_path: Path) -> None:
    async with world(event_log=str(tmp_path / "events.jsonl")) as w:
        call = (await w.client.post(CHAT, json=chat(), headers=NAMED)).headers["x-agentserve-call"]
        await eventually(lambda: call in (tmp_path / "events.jsonl").read_text(), "the log's next group")
        story = (await w.client.get(f"/agentserve/v1/calls/{call}/story", timeout=60)).json()
        assert any("goes to a after 0.000 s" in moment["text"] for moment in story["moments"])
        wrong = await w.client.get("/agentserve/v1/calls/--nothing/story", timeout=60)
        assert wrong.status_code == 404
        assert "the log has no call '--nothing'" in wrong.json()["error"]["message"]


async def test_without_a_log_it_is_said_what_to_do() -> None:
    async with world() as w:
        answer = await w.client.get("/agentserve/v1/calls/x/story")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_event_log")


async def test_nothing_is_done_for_nobody() -> None:
    async with world() as w:
        before = len(asyncio.all_tasks())
        records = list(w.driver._records)
        async with watching(w) as watcher:
            await watcher.next()
            assert len(w.driver._records) == len(records) + 1
        await eventually(lambda: w.driver._records == records, "the end of watching")
        await eventually(lambda: len(asyncio.all_tasks()) <= before, "the end of the feed's task")


async def test_two_who_watch_are_told_the_same() -> None:
    async with world() as w, watching(w) as one, watching(w) as other:
        await one.next()
        await other.next()
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        for watcher in (one, other):
            await watcher.until("run/7 gap")
        assert one.mirror.rows == other.mirror.rows


async def test_no_more_than_so_many_watch() -> None:
    async with world() as w, httpx.AsyncClient(base_url=w.url, limits=httpx.Limits(max_connections=None)) as client:
        answers = [await client.send(client.build_request("GET", WATCH), stream=True) for _ in range(MAX_WATCHERS)]
        assert {answer.status_code for answer in answers} == {200}
        refused = await client.get(WATCH)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_watchers")
        for answer in answers:
            await answer.aclose()


async def test_one_who_is_slow_is_told_everything_anew() -> None:
    watching, begun = Watching(), iter((b"whole 1", b"whole 2"))
    frames = watching.frames(lambda: next(begun))
    assert await anext(frames) == b"whole 1"
    for number in range(BACKLOG + 1):
        watching.give(b"%d" % number)
    watching.give(b"lost too")
    assert await anext(frames) == b"whole 2"
    watching.give(b"next")
    assert await anext(frames) == b"next"


async def test_only_an_admin_key_may_watch(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with changing(file) as ring:
        admin, client = (ring.create("ops", 0.0, role=role).text for role in (Role.ADMIN, Role.CLIENT))
    async with world(keys=str(file)) as w:
        for path in (WATCH, "/agentserve/v1/calls?program=p", "/agentserve/v1/calls/x/story"):
            assert (await w.client.get(path)).status_code == 401
            assert (await w.client.get(path, headers={"x-api-key": client})).status_code == 403
        async with w.client.stream("GET", WATCH, headers={"x-api-key": admin}) as answer:
            assert answer.status_code == 200
        page = await w.client.get("/dashboard")
        assert (page.status_code, "script-src 'self'" in page.headers["content-security-policy"]) == (200, True)


async def test_the_page_is_files_of_ours() -> None:
    async with world() as w:
        script = await w.client.get("/dashboard/main.js")
        assert script.headers["content-type"].startswith("text/javascript")
        tag = script.headers["etag"]
        assert (await w.client.get("/dashboard/main.js", headers={"if-none-match": tag})).status_code == 304
        missing = await w.client.get("/dashboard/../server.py")
        assert missing.status_code == 404
