import asyncio
import time
from collections.abc import Mapping

import pytest

import agentserve.gateway.faults.breaker as module
from agentserve.engines.base import EngineError
from agentserve.gateway.faults.breaker import Breaker, answers
from scheduler.state import EngineStatus
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.world import CHAT, chat, eventually, world


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)


class Watched:
    """A breaker over an engine that gives the scripted answers, and then none that are good."""

    def __init__(self, *script: bool) -> None:
        self.script = list(script)
        self.asked = 0
        self.switched: list[bool] = []
        self.breaker = Breaker(3, self._answers, self.switched.append)

    async def _answers(self) -> bool:
        self.asked += 1
        return self.script.pop(0)

    def fail(self, times: int) -> None:
        for _ in range(times):
            self.breaker.failed()


async def test_failures_that_are_the_clients_doing_open_nothing() -> None:
    watched = Watched(True)
    watched.fail(3)
    await eventually(lambda: not watched.script, "the question")
    await asyncio.sleep(0)
    assert watched.switched == []


async def test_an_engine_that_does_not_answer_either_is_shut_off_until_it_does() -> None:
    watched = Watched(False, False, True)
    watched.fail(3)
    await eventually(lambda: watched.switched == [True, False], "its opening and closing")
    assert watched.asked == 3


async def test_failures_count_only_in_a_row() -> None:
    watched = Watched()
    for _ in range(5):
        watched.fail(2)
        watched.breaker.succeeded()
    await asyncio.sleep(0)
    assert watched.asked == 0


async def test_after_the_engine_is_gone_nothing_is_asked() -> None:
    watched = Watched(False)
    watched.fail(3)
    await eventually(lambda: watched.switched == [True], "its opening")
    watched.breaker.end()
    await asyncio.sleep(0.03)
    assert (watched.asked, watched.switched) == (1, [True])


async def test_an_answer_or_a_proper_refusal_is_good_and_nothing_else_is() -> None:
    engine = FakeEngine()
    engine.script.extend((FakeReply([b"{}"]), FakeReply([b"no such route"], status=404)))
    assert await answers(engine, "m")
    assert await answers(engine, "m")
    broken = FakeReply([b"x", EngineError("gone")])
    engine.script.extend((FakeReply([b"dead"], status=500), EngineError("refused"), broken, asyncio.Event()))
    for _ in range(4):
        assert not await answers(engine, "m", limit=0.02)
    assert engine.sent[0].json == {"model": "m", "prompt": "hi", "max_tokens": 1}


class Awaited(FakeEngine):
    """Answers while the loop of whoever asked is held up again and again."""

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> FakeReply:
        for _ in range(5):
            time.sleep(0.01)  # noqa: ASYNC251 - this is the loop that is late
            await asyncio.sleep(0)
        return await super().open(path, headers, body)


async def test_an_engine_whose_answer_we_are_late_to_see_is_not_called_dead() -> None:
    engine = Awaited()
    engine.script.append(FakeReply([b"{}"]))
    assert await answers(engine, "m", limit=0.02)


async def test_an_engine_that_breaks_all_calls_gets_none_until_it_answers_again() -> None:
    engines = FakeEngine("a"), FakeEngine("b")
    bad, good = engines
    async with world(*engines, faults={"failures": 1, "pause": 0.001}) as w:
        states = w.brain.engines
        bad.script.extend([EngineError("broken")] * 4)
        for _ in range(2):
            assert (await w.client.post(CHAT, json=chat())).status_code == 200, "the other engine answers"
        await eventually(lambda: bool(bad.sent), "a call on the bad engine")
        await eventually(lambda: not bad.script and states[bad.name].status is EngineStatus.UP, "its return")
        assert [sent.path for sent in bad.sent].count("/v1/completions") >= 2
        assert [sent.path for sent in good.sent] == [CHAT] * len(good.sent)
        w.brain.check_integrity()
