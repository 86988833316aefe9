import asyncio
import json
from collections.abc import Mapping

from starlette.types import Message

from agentserve.engines.base import EngineError
from tests.gateway.fakes import DONE, ROLE, STOP, FakeReply, delta
from tests.gateway.world import CHAT, World, chat, eventually, until_idle, world

PIECE = delta(content="x" * 1000)
COUNT = 2000


class Reader:
    """A client at the end of an ASGI application that reads when it is told to."""

    def __init__(self, body: Mapping[str, object] | None = None) -> None:
        self.body = json.dumps(body or chat(stream=True)).encode()
        self.reads = asyncio.Event()
        self.got = 0
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.got += len(message.get("body", b""))


async def call(w: World, reader: Reader) -> None:
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    await w.app(scope, reader.receive, reader.send)


async def test_upstream_reading_pauses_for_a_slow_reader_and_goes_on_with_it() -> None:
    reader = Reader()
    async with world() as w:
        reply = FakeReply([ROLE, *[PIECE] * COUNT, STOP, DONE])
        w.engine.script.append(reply)
        task = asyncio.create_task(call(w, reader))
        await eventually(lambda: reply.taken * len(PIECE) > 256 * 1024, "a full buffer")
        await asyncio.sleep(0.05)
        assert reply.taken * len(PIECE) < 256 * 1024 + 2 * len(PIECE), "reading goes on although nobody takes it"
        reader.reads.set()
        await task
        assert reader.got == len(ROLE) + COUNT * len(PIECE) + len(STOP) + len(DONE)


async def test_a_reader_that_stalls_is_given_up() -> None:
    reader = Reader()
    async with world(limits={"stall": 0.05}) as w:
        reply = FakeReply([ROLE, *[PIECE] * COUNT, STOP, DONE])
        w.engine.script.append(reply)
        await call(w, reader)
        assert reply.closed.is_set()
        await until_idle(w.brain)
        assert 'status="stalled"} 1.0' in (await w.client.get("/metrics")).text


async def test_a_connection_that_breaks_ends_the_exchange() -> None:
    class Broken(Reader):
        async def send(self, message: Message) -> None:
            raise OSError("broken pipe")

    async with world() as w:
        reply = FakeReply([ROLE, asyncio.Event()])
        w.engine.script.append(reply)
        await call(w, Broken())
        assert reply.closed.is_set()
        await until_idle(w.brain)


async def test_a_reader_that_stalls_over_an_error_is_given_up_too() -> None:
    async with world(limits={"stall": 0.05}) as w:
        w.engine.script.append(EngineError("engine a gave no answer"))
        await call(w, Reader())
        await until_idle(w.brain)


async def test_a_client_that_leaves_before_its_request_is_complete_is_forgotten() -> None:
    class Leaving(Reader):
        async def receive(self) -> Message:
            return {"type": "http.disconnect"}

    async with world() as w:
        await call(w, Leaving())
        assert not w.engine.sent
        assert not w.brain.programs
