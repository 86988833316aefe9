import asyncio
import json
import logging
import socket
from pathlib import Path

import pytest

from agentserve.gateway.assembly import gateway
from agentserve.gateway.chain import Chain
from agentserve.gateway.server import listen, run
from agentserve.gateway.state import StateError, load_state, save_state
from scheduler.brain import Brain
from scheduler.learned import Learned
from scheduler.log import replay
from tests.gateway.fakes import FakeEngine
from tests.gateway.world import CHAT, chat, configure, until_idle, world


async def test_the_event_log_replays_to_the_same_decisions(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    async with world(FakeEngine("a"), FakeEngine("b"), event_log=str(path), policy="agentserve") as w:
        for turn in range(3):
            calls = (
                w.client.post(CHAT, json=chat(f"{turn}", stream=bool(n % 2)), headers={"x-session-id": f"s{n}"})
                for n in range(6)
            )
            await asyncio.gather(*calls)
        await until_idle(w.brain)
    result = replay(path.read_text().splitlines())
    assert result.first_difference is None
    assert result.events > 6 * 3 * 3
    assert result.brain.learned.to_json() == w.brain.learned.to_json()


async def test_what_was_learned_is_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert load_state(path) is None
    async with world(state=str(path)) as w:
        await w.client.post(CHAT, json=chat(), headers={"x-agentserve-final": "1"})
        await until_idle(w.brain)
    loaded = load_state(path)
    assert loaded == {**w.brain.learned.to_json(), "responses": []}
    assert Brain(w.config.policy, learned=loaded).learned.tokens_per_byte.count == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"gaps": 3}'])
def test_a_state_that_cannot_be_read_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(StateError, match="move it away"):
        load_state(path)


def test_a_state_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    save_state(path, Learned(), Chain())
    save_state(path, Learned(), Chain())
    assert [file.name for file in path.parent.iterdir()] == ["state.json"]
    assert json.loads(path.read_text())


def test_an_address_in_use_ends_the_command_with_one_message(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.ERROR):
        config = configure([FakeEngine()], listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert run(config) == 2
    assert "choose another address" in caplog.text


async def test_small_pieces_of_a_stream_are_sent_without_delay() -> None:
    delays: asyncio.Queue[bool] = asyncio.Queue()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await delays.put(not writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listen(configure([FakeEngine()], listen="127.0.0.1:0"))
    async with await asyncio.start_server(accepted, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert not await delays.get()
        writer.close()


async def test_engines_are_stopped_with_the_gateway() -> None:
    class Stoppable(FakeEngine):
        stopped = False

        async def stop(self) -> None:
            self.stopped = True

    engine = Stoppable()
    config = configure([engine])
    async with gateway(config, Brain(config.policy), [engine]):
        await asyncio.sleep(0)
    assert engine.stopped
