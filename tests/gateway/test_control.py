import asyncio

import pytest

from agentserve.engines.base import PinReport
from scheduler.events import PinOutcome
from tests.gateway.fakes import FakeEngine
from tests.gateway.world import CHAT, chat, eventually, until_idle, within, world

PROGRAMS = "/agentserve/v1/programs"
NAMED = {"x-agentserve-program": "run/7", "x-agentserve-workflow": "swe"}


async def test_the_gateway_lives_and_says_when_it_is_ready() -> None:
    async with world() as w:
        assert (await w.client.get("/health")).json() == {"status": "ok"}
        ready = await w.client.get("/ready")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "waiting_for": {}})


async def test_until_an_engine_is_up_the_gateway_says_what_it_waits_for() -> None:
    class Slow(FakeEngine):
        async def healthy(self) -> bool:
            return False

    async with world(Slow("a")) as w:
        await eventually(lambda: not w.driver.engines, "the engine's end")
        ready = await w.client.get("/ready")
        assert ready.status_code == 503
        assert "health checks" in ready.json()["waiting_for"]["m"][0]
        assert (await w.client.post(CHAT, json=chat())).json()["error"]["code"] == "no_engine"


async def test_models_are_listed_with_their_context() -> None:
    async with world() as w:
        listed = (await w.client.get("/v1/models")).json()
        card = listed["data"][0]
        assert (listed["object"], len(listed["data"])) == ("list", 1)
        assert (card["id"], card["object"], card["owned_by"], card["max_model_len"]) == (
            "m",
            "model",
            "agentserve",
            4096,
        )
        assert (listed["first_id"], listed["has_more"], card["type"]) == ("m", False, "model"), "Anthropic's list too"


async def test_engines_are_shown_with_what_they_can_do() -> None:
    async with world() as w:
        (engine,) = (await w.client.get("/agentserve/v1/engines")).json()["engines"]
        assert (engine["name"], engine["model"], engine["state"]) == ("a", "m", "up")
        assert engine["spec"]["retention"] is True


async def test_a_program_is_shown_until_it_is_ended() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        shown = (await w.client.get(f"{PROGRAMS}/run/7")).json()
        assert (shown["id"], shown["workflow"], shown["engine"], shown["served"]) == ("run/7", "swe", "a", 1)
        assert shown["context_tokens"] == 14
        assert (await w.client.get(PROGRAMS)).json()["programs"][0]["id"] == "run/7"
        assert (await w.client.delete(f"{PROGRAMS}/run/7")).status_code == 200
        for answer in (await w.client.get(f"{PROGRAMS}/run/7"), await w.client.delete(f"{PROGRAMS}/run/7")):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "program_not_found"
        assert (await w.client.get(PROGRAMS)).json() == {"programs": []}


async def test_a_final_call_ends_its_program() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers={**NAMED, "x-agentserve-final": "true"})
        await until_idle(w.brain)
        assert not w.brain.programs


async def test_hints_reach_the_brain() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        hints = {"tool_started": "pytest", "remaining_calls": 3, "expected_gap": 2.5}
        assert (await w.client.post(f"{PROGRAMS}/run/7/hints", json=hints)).status_code == 200
        (program,) = w.brain.programs.values()
        assert (program.gap_tools, program.remaining_calls, program.expected_gap) == (("pytest",), 3, 2.5)
        assert (await w.client.post(f"{PROGRAMS}/run/7/hints", json={"tool_ended": True})).status_code == 200


@pytest.mark.parametrize("hints", [{"tol_started": "x"}, {"expected_gap": -1}, {"remaining_calls": "many"}, []])
async def test_wrong_hints_are_refused(hints: object) -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        answer = await w.client.post(f"{PROGRAMS}/run/7/hints", json=hints)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


async def test_hints_for_an_unknown_program_are_refused() -> None:
    async with world() as w:
        assert (await w.client.post(f"{PROGRAMS}/nobody/hints", json={})).status_code == 404


async def test_metrics_count_calls_tokens_and_engines() -> None:
    async with world() as w:
        await w.client.post(CHAT, json=chat(stream=True), headers=NAMED)
        await w.client.post(CHAT, json={})
        text = (await w.client.get("/metrics")).text
        for line in (
            'agentserve_calls_total{model="m",status="finished"} 1.0',
            'agentserve_calls_identified_total{source="header"} 1.0',
            'agentserve_errors_total{status="400"} 1.0',
            'agentserve_prompt_tokens_total{model="m"} 12.0',
            'agentserve_output_tokens_total{model="m"} 2.0',
            'agentserve_queue_seconds_count{model="m"} 1.0',
            'agentserve_ttft_seconds_count{model="m"} 1.0',
            'agentserve_engine_up{engine="a",model="m"} 1.0',
            'agentserve_engine_kv_tokens{engine="a"} 8192.0',
            'agentserve_account_drift_tokens{engine="a"} 0.0',
            "agentserve_programs 1.0",
            "agentserve_calls_waiting 0.0",
        ):
            assert line in text.splitlines(), line


async def test_error_answers_are_counted_whoever_gives_them() -> None:
    async with world() as w:
        await w.client.post(CHAT, content=b"{")
        await w.client.get("/v1/nothing")
        text = (await w.client.get("/metrics")).text
        for status in (400, 404):
            assert f'agentserve_errors_total{{status="{status}"}} 1.0' in text


async def test_a_gap_is_pinned_on_the_engine_and_its_end_releases_it() -> None:
    async with world(policy={"retention": {"fixed_ttl": {"ttl": 30.0}}}) as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        arguments = w.engine.sent[0].json["vllm_xargs"]
        assert arguments == {"agentserve_program": "default/run/7", "agentserve_rank": 0, "agentserve_ttl": 30.0}
        shown = (await w.client.get(f"{PROGRAMS}/run/7")).json()
        assert 29 < shown["pinned_seconds"] <= 30
        await w.client.delete(f"{PROGRAMS}/run/7")
        await eventually(lambda: bool(w.engine.orders), "the release")
        assert [(order.program, order.ttl) for order in w.engine.orders] == [("default/run/7", 0.0)]


async def test_what_becomes_of_pins_is_asked_for_and_reported() -> None:
    async with world(policy={"retention": {"fixed_ttl": {"ttl": 30.0}}}) as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        await within(w.engine.asked)
        w.engine.reports.append(PinReport("default/run/7", PinOutcome.BROKEN, 64))
        (program,) = w.brain.programs.values()
        await eventually(lambda: program.pin_until == 0.0, "the news of the broken pin")
        assert 'agentserve_pins_total{engine="a",outcome="broken"} 1.0' in (await w.client.get("/metrics")).text


async def test_an_order_the_plugin_did_not_get_is_sent_again() -> None:
    async with world(policy={"retention": {"fixed_ttl": {"ttl": 30.0}}}) as w:
        await w.client.post(CHAT, json=chat(), headers=NAMED)
        w.engine.pin_failures = 1
        await w.client.delete(f"{PROGRAMS}/run/7")
        await eventually(lambda: bool(w.engine.orders), "the release")
        assert w.engine.orders[0].ttl == 0.0


async def test_the_documentation_lists_the_control_routes() -> None:
    async with world() as w:
        paths = (await w.client.get("/openapi.json")).json()["paths"]
        assert {"/health", "/ready", "/v1/models", "/agentserve/v1/programs"} <= set(paths)
        assert (await w.client.get("/docs")).status_code == 200


async def test_requests_of_many_programs_are_told_apart() -> None:
    async with world() as w:
        headers = [{"x-agentserve-program": f"p{number}"} for number in range(20)]
        answers = await asyncio.gather(*(w.client.post(CHAT, json=chat(), headers=names) for names in headers))
        assert [answer.headers["x-agentserve-program"] for answer in answers] == [f"p{n}" for n in range(20)]
        assert len(w.brain.programs) == 20
