import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agentserve.engines.base import OutrankedError, PinOrder, PinReport, Pulse
from agentserve.gateway.driver import describe
from agentserve.gateway.pins import PinLine
from scheduler.actions import Abort
from scheduler.brain import Brain, Decision
from scheduler.events import Event, ToolStarted
from scheduler.types import DEFAULT_TENANT, ProgramKey
from tests.gateway.fakes import ROLE, SPEC, WORDS, FakeEngine, FakeReply
from tests.gateway.world import CHAT, chat, eventually, until_idle, within, world


async def test_the_brain_is_woken_when_it_asks_to_be() -> None:
    async with world(program_idle_timeout=0.05) as w:
        await w.client.post(CHAT, json=chat())
        await eventually(lambda: not w.brain.programs, "the end of the idle program")


async def test_an_engine_that_comes_back_is_used_again() -> None:
    async with world() as w:
        w.driver.engine_down(w.engine, "it hangs")
        w.driver.engine_up(w.engine, SPEC)
        assert (await w.client.post(CHAT, json=chat())).status_code == 200


async def test_what_a_scrape_says_reaches_the_brain() -> None:
    async with world() as w:
        w.driver.engine_observed(w.engine, asyncio.get_running_loop().time(), Pulse(1, 0, 640))
        assert w.brain.engines[w.engine.name].foreign == 640, "blocks in use that are none of ours"


class AbortingBrain(Brain):
    """Stops every call when it hears of a tool."""

    def handle(self, event: Event) -> Decision:
        decision = super().handle(event)
        if not isinstance(event, ToolStarted):
            return decision
        return Decision((*decision.actions, *(Abort(call) for call in self.calls)), decision.next_wakeup)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_the_scheduler_stops_ends_upstream_and_tells_the_client(stream: bool) -> None:
    async with world(kind=AbortingBrain) as w:
        reply = FakeReply([ROLE, WORDS[0], asyncio.Event()])
        w.engine.script.append(reply)
        task = asyncio.create_task(w.client.post(CHAT, json=chat(stream=stream), headers={"x-session-id": "s"}))
        await eventually(lambda: reply.taken == 3, "the answer's first part")
        await w.client.post("/agentserve/v1/programs/s/hints", json={"tool_started": "x"})
        answer = await task
        assert answer.status_code == (200 if stream else 503)
        assert b'"code": "aborted"' in answer.content
        assert reply.closed.is_set()
        await until_idle(w.brain)


class GatedEngine(FakeEngine):
    """Answers pin orders one by one, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Semaphore(0)
        self.batches: list[list[PinOrder]] = []

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        self.batches.append(list(orders))
        self.asked.set()
        await self.gate.acquire()
        return []


def key(name: str) -> ProgramKey:
    return ProgramKey(DEFAULT_TENANT, name)


async def test_pin_orders_are_sent_at_once_one_request_at_a_time_and_the_latest_counts() -> None:
    engine = GatedEngine()
    line = PinLine(engine, lambda report: None)
    task = asyncio.create_task(line.run())
    line.order(key("p"), 30.0)
    await within(engine.asked)
    engine.asked.clear()
    line.order(key("q"), 30.0)
    line.order(key("r"), 30.0)
    line.order(key("q"), 0.0)
    await asyncio.sleep(0)
    assert len(engine.batches) == 1, "a second request was sent before the first was answered"
    engine.gate.release()
    await within(engine.asked)
    task.cancel()
    first, second = engine.batches
    assert [order.program for order in first] == ["default/p"]
    assert first[0].ttl == pytest.approx(30.0, abs=1.0)
    assert {order.program: order.ttl > 0 for order in second} == {"default/q": False, "default/r": True}


async def test_whoever_has_not_the_brain_orders_no_pins() -> None:
    engine = FakeEngine()
    epoch: int | None = None
    line = PinLine(engine, lambda report: None, lambda: epoch)
    task = asyncio.create_task(line.run())
    line.order(key("p"), 30.0)
    await asyncio.sleep(0.02)
    assert not engine.asked.is_set()
    epoch = 7
    line.order(key("q"), 30.0)
    await within(engine.asked)
    task.cancel()
    assert [order.program for order in engine.orders] == ["default/q"], "what was ordered before is of another brain"


class OutrankedEngine(FakeEngine):
    """Obeys somebody else."""

    async def pin(self, orders: Sequence[PinOrder], epoch: int = 0) -> list[PinReport]:
        self.asked.set()
        raise OutrankedError("engine a obeys another gateway")


async def test_that_an_engine_obeys_another_gateway_is_said_once_an_order(caplog: pytest.LogCaptureFixture) -> None:
    engine = OutrankedEngine()
    line = PinLine(engine, lambda report: None)
    task = asyncio.create_task(line.run())
    line.order(key("p"), 30.0)
    await within(engine.asked)
    await asyncio.sleep(0.02)
    task.cancel()
    assert [record.message for record in caplog.records] == ["engine a obeys another gateway"]


def test_an_engine_is_described_with_what_it_lacks() -> None:
    assert describe(SPEC) == "m, 8,192 KV tokens, context 4,096"
    assert describe(replace(SPEC, retention=False, priority=False)).endswith(", without priorities and pins")
