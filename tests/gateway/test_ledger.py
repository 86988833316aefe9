import asyncio

import pytest

from agentserve.config import ConfigError, parse
from agentserve.gateway.ledger import Account, Ledger, Price
from agentserve.gateway.lives import Lives
from agentserve.gateway.metrics import Metrics
from scheduler.actions import Dispatch, Reject, RejectReason, Why
from scheduler.brain import Decision
from scheduler.events import CallArrived, CallCancelled, CallFailed, CallFinished, DispatchFailed, FailureReason, Wakeup
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, ProgramKey, Usage
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.world import ANY_POOL, CHAT, chat, until_idle, within, world

PROGRAMS = "/agentserve/v1/programs"
P = ProgramKey(DEFAULT_TENANT, "p")
C = CallId("c")
MOST = 100
PRICE = Price(input=2.0, cached=0.5, output=8.0, engine_second=0.001)


def arrived(at: float, call: CallId = C, program: ProgramKey = P) -> CallArrived:
    return CallArrived(at, call, program, "m", 100)


def dispatched(call: CallId = C) -> Dispatch:
    return Dispatch(call, EngineId("a"), 0, 0, 0.0, Why.DIRECT, 0.0, 10)


class Books:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.ledger = Ledger({"m": PRICE}, self.metrics, MOST)
        self.lives = Lives([self.ledger])

    def tell(self, event: object, *actions: object) -> None:
        self.lives.record(event, Decision(actions, None))  # type: ignore[arg-type]

    @property
    def account(self) -> Account:
        return self.ledger.account(P)


def test_a_call_is_charged_for_its_tokens_and_its_time() -> None:
    books = Books()
    books.tell(arrived(10.0))
    books.tell(Wakeup(10.5), dispatched())
    books.tell(CallFinished(12.5, C, Usage(1000, 50, 600)))
    account = books.account
    assert (account.calls, account.prompt_tokens, account.cached_tokens, account.output_tokens) == (1, 1000, 600, 50)
    assert (account.engine_seconds, account.queue_seconds) == (2.0, 0.5)
    assert account.cost == pytest.approx((400 * 2.0 + 600 * 0.5 + 50 * 8.0) / 1e6 + 2 * 0.001)


def test_time_on_an_engine_that_failed_and_the_second_wait_count() -> None:
    books = Books()
    books.tell(arrived(0.0), dispatched())
    books.tell(DispatchFailed(3.0, C, EngineId("a"), FailureReason.ENGINE_LOST))
    books.tell(Wakeup(4.0), dispatched())
    books.tell(CallFinished(6.0, C, None))
    assert (books.account.engine_seconds, books.account.queue_seconds) == (5.0, 1.0)
    assert books.account.cost == pytest.approx(0.005)


@pytest.mark.parametrize("end", [CallCancelled(3.0, C), CallFailed(3.0, C, FailureReason.STALLED)])
def test_a_call_without_its_answer_is_counted_apart(end: object) -> None:
    books = Books()
    books.tell(arrived(1.0), dispatched())
    books.tell(end)
    assert (books.account.calls, books.account.unfinished, books.account.engine_seconds) == (1, 1, 2.0)


def test_a_rejected_call_has_only_waited() -> None:
    books = Books()
    books.tell(arrived(1.0))
    books.tell(Wakeup(4.0), Reject(C, RejectReason.NO_ENGINE, ""))
    assert (books.account.unfinished, books.account.engine_seconds, books.account.queue_seconds) == (1, 0.0, 3.0)


def test_a_gap_is_measured_when_no_other_call_of_the_program_runs() -> None:
    books = Books()
    books.tell(arrived(0.0), dispatched())
    books.tell(arrived(1.0, CallId("d")), dispatched(CallId("d")))
    books.tell(CallFinished(2.0, C, None))
    books.tell(arrived(3.0), dispatched())
    books.tell(CallFinished(4.0, CallId("d"), None))
    books.tell(CallFinished(5.0, C, None))
    books.tell(arrived(9.0), dispatched())
    assert books.metrics.registry.get_sample_value("agentserve_gap_seconds_count", {"model": "m"}) == 1
    assert books.metrics.registry.get_sample_value("agentserve_gap_seconds_sum", {"model": "m"}) == 4.0


def test_the_accounts_are_bounded() -> None:
    books = Books()
    for number in range(MOST + 1):
        program = ProgramKey(DEFAULT_TENANT, str(number))
        books.tell(arrived(0.0, program=program), Reject(C, RejectReason.NO_ENGINE, ""))
    assert len(list(books.ledger.latest())) == MOST
    assert books.ledger.account(ProgramKey(DEFAULT_TENANT, "0")) == Account()


def test_a_price_of_an_unknown_model_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="prices: 'n' is no pool's model; the pools are m"):
        parse({"pools": ANY_POOL, "prices": {"n": {"input": 1.0}}})
    with pytest.raises(ConfigError, match="prices"):
        parse({"pools": ANY_POOL, "prices": {"m": {"input": -1.0}}})


async def test_a_program_shows_what_it_took() -> None:
    async with world(prices={"m": {"input": 1e6, "output": 1e6}}) as w:
        for _ in range(2):
            await w.client.post(CHAT, json=chat(), headers={"x-agentserve-program": "p"})
        account = (await w.client.get(f"{PROGRAMS}/p")).json()["account"]
        assert (account["calls"], account["prompt_tokens"], account["output_tokens"]) == (2, 24, 4)
        assert account["cost"] == 28.0
        assert account["engine_seconds"] > 0
        metrics = (await w.client.get("/metrics")).text
        assert 'agentserve_cost_total{model="m"} 28.0' in metrics


async def test_a_program_that_has_ended_still_shows_what_it_took() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers={"x-agentserve-program": "p", "x-agentserve-final": "true"})
        await until_idle(w.brain)
        assert (await w.client.get(PROGRAMS)).json() == {"programs": []}
        (ended,) = (await w.client.get(PROGRAMS, params={"ended": True})).json()["ended"]
        assert (ended["id"], ended["tenant"], ended["account"]["calls"]) == ("p", "default", 1)


async def test_a_client_that_leaves_is_charged_for_the_time_it_took() -> None:
    engine = FakeEngine()
    engine.script.append(FakeReply([asyncio.Event()]))
    async with world(engine) as w:
        call = asyncio.create_task(w.client.post(CHAT, json=chat(), headers={"x-agentserve-program": "p"}))
        await within(engine.opened)
        call.cancel()
        await until_idle(w.brain)
        (ended,) = (await w.client.get(PROGRAMS, params={"ended": True})).json()["ended"]
        assert (ended["account"]["calls"], ended["account"]["unfinished"]) == (1, 1)


async def test_the_answer_says_in_short_what_was_decided() -> None:
    async with world() as w:
        for stream in (False, True):
            answer = await w.client.post(CHAT, json=chat(stream=stream))
            assert answer.headers["x-agentserve-decision"] == "engine=a; wait=0ms; why=direct"
            assert answer.headers["x-agentserve-call"] == w.engine.sent[-1].headers["x-request-id"]
