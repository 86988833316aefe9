"""Gateways that share a brain: who has it, what becomes of calls when it goes, and when the store does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agentserve.state.base import Lease
from agentserve.state.memory import MemoryStore
from scheduler.types import DEFAULT_TENANT, ProgramKey
from tests.cell.world import CellWorld, Part, cell
from tests.gateway.fakes import SPEC
from tests.gateway.world import eventually

WHY = "x-agentserve-why"


def key(name: str) -> ProgramKey:
    return ProgramKey(DEFAULT_TENANT, name)


def balanced(part: Part) -> bool:
    """Whether the brain that is here holds nothing for calls."""
    brain = part.driver.brain
    brain.check_integrity()
    return not brain.calls


def hold(parts: list[Part], let_go: asyncio.Event) -> None:
    """Keeps the next call of each of the gateways' engines from its answer until then."""
    for part in parts:
        for engine in part.engines:
            engine.script.append(let_go)


async def test_calls_through_any_gateway_are_decided_by_the_one_brain() -> None:
    async with cell(3) as world:
        leader = await world.settle()
        engines = set()
        for part in world.parts:
            answer = await part.ask("p")
            assert answer.headers[WHY] == "direct"
            engines.add(answer.headers["x-agentserve-engine"])
        await eventually(lambda: balanced(leader), "the end of all calls")
        assert leader.driver.brain.programs[key("p")].served == 3
        assert len(engines) == 1, "a program stays where its KV is"
        for part in world.parts:
            ready = await part.client.get("/ready")
            assert ready.json()["brain"] == ("here" if part is leader else "there")


async def test_who_is_cut_off_from_the_store_stops_deciding_before_another_begins() -> None:
    async with cell(2) as world:
        old = await world.settle()
        (other,) = world.others(old)
        await old.ask("p")
        await eventually(lambda: world.logged("CallFinished"), "the log")
        epoch = old.driver.epoch
        old.cable.cut = True
        most = 0

        def taken_over() -> bool:
            nonlocal most
            most = max(most, len(world.leaders))
            return world.leaders == [other]

        await eventually(taken_over, "a new brain", 30.0)
        assert most == 1, "two brains at a time"
        assert other.driver.epoch is not None
        assert epoch is not None
        assert other.driver.epoch > epoch
        assert old.driver.epoch is None, "its pins are not ours to order"
        assert other.driver.brain.programs[key("p")].served == 1, "what the old brain knew"
        assert (await other.ask("p")).headers[WHY] == "direct"


async def test_a_gateway_that_ends_hands_the_brain_over_at_once() -> None:
    async with cell(2) as world:
        old = await world.settle()
        (other,) = world.others(old)
        await other.ask("p")
        await old.stack.aclose()
        await world.settle(other)
        assert other.driver.brain.programs[key("p")].served == 1
        assert (await other.ask("p")).headers[WHY] == "direct"


async def test_calls_in_flight_are_announced_to_the_next_brain() -> None:
    async with cell(3) as world:
        old = await world.settle()
        part, third = world.others(old)
        let_go = asyncio.Event()
        hold([part], let_go)
        running = asyncio.create_task(part.ask("p"))
        await eventually(lambda: bool(old.driver.brain.calls), "the call")
        old.cable.cut = True
        new = await world.settle(part, third)
        await eventually(lambda: len(new.driver.brain.calls) == 1, "the announcement")
        (call,) = new.driver.brain.calls.values()
        assert call.engine is not None, "it runs, and is not sent a second time"
        let_go.set()
        await running
        assert sum(len(engine.sent) for engine in part.engines) == 1
        await eventually(lambda: balanced(new), "the end of the call")
        assert new.driver.brain.programs[key("p")].served == 1


async def test_without_a_store_calls_are_forwarded_visibly_and_counted_once_after() -> None:
    async with cell(2) as world:
        old = await world.settle()
        await old.ask("p")
        for part in world.parts:
            part.cable.cut = True
        await eventually(lambda: all(part.driver.standing == "none" for part in world.parts), "no brain", 30.0)
        for part in world.parts:
            assert (await part.ask("q")).headers[WHY] == "forwarded"
            assert (await part.client.get("/ready")).json() == {"ready": True, "waiting_for": {}, "brain": "none"}
        for part in world.parts:
            part.cable.cut = False
        new = await world.settle()
        assert new is old, "the latest brain goes on"
        assert new.driver.brain.programs[key("p")].served == 1
        assert balanced(new)


async def test_the_brain_hears_of_its_calls_that_were_answered_while_it_was_away() -> None:
    async with cell(2) as world:
        old = await world.settle()
        parts = [old, *world.others(old)]
        let_go = asyncio.Event()
        hold(parts, let_go)
        running = [asyncio.create_task(part.ask(f"p{number}")) for number, part in enumerate(parts)]
        await eventually(lambda: len(old.driver.brain.calls) == 2, "the calls")
        for part in world.parts:
            part.cable.cut = True
        await eventually(lambda: all(part.driver.standing == "none" for part in world.parts), "no brain", 30.0)
        let_go.set()
        await asyncio.gather(*running)
        for part in world.parts:
            part.cable.cut = False
        brain = (await world.settle()).driver.brain
        await eventually(lambda: not brain.calls, "the ends of the calls")
        assert [brain.programs[key(name)].served for name in ("p0", "p1")] == [1, 1]


async def test_a_fault_of_the_member_does_not_end_its_part() -> None:
    async with cell(2) as world:
        old = await world.settle()
        renew, faults = world.store.renew, [RuntimeError("a fault")]

        async def faulty(lease: Lease, ttl: float) -> bool:
            if faults:
                raise faults.pop()
            return await renew(lease, ttl)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.store, "renew", faulty)
            await eventually(lambda: not faults, "the fault", 30.0)
            await world.settle()
        assert (await old.ask("p")).headers[WHY] == "direct"


async def test_a_call_that_waits_is_forwarded_when_the_brain_goes() -> None:
    async with cell(2, replace(SPEC, kv_tokens=512)) as world:
        old = await world.settle()
        (part,) = world.others(old)
        let_go = asyncio.Event()
        hold([part], let_go)
        long = "word " * 320
        calls = [asyncio.create_task(part.ask(f"p{number}", text=long)) for number in range(3)]
        await eventually(lambda: old.driver.brain.waiting == 1, "a call that waits")
        old.cable.cut = True
        await eventually(lambda: sum(len(engine.sent) for engine in part.engines) == 3, "that it goes", 30.0)
        let_go.set()
        whys = [(await call).headers[WHY] for call in calls]
        assert whys.count("forwarded") == 1


def wipe(world: CellWorld) -> None:
    MemoryStore.__init__(world.store)


async def test_a_wiped_store_is_filled_again_by_the_brain_that_runs() -> None:
    async with cell(2) as world:
        old = await world.settle()
        await old.ask("p")
        epoch = old.driver.epoch
        wipe(world)
        await eventually(lambda: world.leaders == [old] and old.driver.epoch != epoch, "a new term", 30.0)
        assert old.driver.epoch is not None
        assert epoch is not None
        assert old.driver.epoch > epoch
        await world.settle()
        await eventually(lambda: world.store._snapshot is not None, "a snapshot")
        assert old.driver.brain.programs[key("p")].served == 1


async def test_calls_of_a_gateway_that_is_gone_are_cancelled() -> None:
    async with cell(2) as world:
        leader = await world.settle()
        (part,) = world.others(leader)
        for engine in part.engines:
            engine.script.append(asyncio.Event())
        call = asyncio.create_task(part.ask("p"))
        await eventually(lambda: bool(leader.driver.brain.calls), "the call")
        part.cable.cut = True  # so that it does not find the brain again
        following = part.driver.take.__self__  # type: ignore[attr-defined]
        following._link.close()
        await eventually(lambda: balanced(leader), "that the call is given up", 30.0)
        call.cancel()


async def test_a_reload_of_any_gateway_reaches_all_and_the_next_brain_too() -> None:
    async with cell(3) as world:
        leader = await world.settle()
        asked, other = world.others(leader)
        let_go = asyncio.Event()
        for engine in asked.engines:
            engine.script.append(let_go)
        running = asyncio.create_task(asked.ask("p"))
        await eventually(lambda: bool(leader.driver.brain.calls), "the call")
        world.policy = "continuum"
        answer = await asked.client.post("/agentserve/v1/reload")
        assert answer.json()["changed"] == ["policy"]
        assert answer.json()["gateways_told"] == 1, "the one with the brain, which tells the others"
        await eventually(lambda: leader.driver.brain.policy.name == "continuum", "the new policy")
        let_go.set()
        await running
        leader.cable.cut = True
        new = await world.settle(asked, other)
        assert new.driver.brain.policy.name == "continuum"
        assert sum(len(engine.sent) for engine in asked.engines) == 1


async def test_what_only_the_brain_knows_can_be_asked_of_any_gateway() -> None:
    async with cell(2) as world:
        leader = await world.settle()
        (part,) = world.others(leader)
        await part.ask("p")
        await eventually(lambda: balanced(leader), "the end of the call")
        listed = (await part.client.get("/agentserve/v1/programs")).json()["programs"]
        assert [program["id"] for program in listed] == ["p"]
        assert (await part.client.get("/agentserve/v1/programs/q")).status_code == 404
        hint = await part.client.post("/agentserve/v1/programs/p/hints", json={"remaining_calls": 3})
        assert hint.status_code == 200
        assert leader.driver.brain.programs[key("p")].remaining_calls == 3
        assert (await part.client.delete("/agentserve/v1/programs/p")).json() == {"ended": "p"}
        assert not leader.driver.brain.programs
        leader.cable.cut = part.cable.cut = True
        await eventually(lambda: part.driver.standing == "none", "no brain", 30.0)
        without = await part.client.get("/agentserve/v1/programs")
        assert without.status_code == 503
        assert without.json()["error"]["code"] == "no_brain"
