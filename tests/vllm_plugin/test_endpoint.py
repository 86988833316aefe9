from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.datastructures import State

from agentserve.vllm_plugin import endpoint
from agentserve.vllm_plugin.endpoint import MAX_BODY, SCHEDULER, AgentservePlugin

STATUS = {
    "cursor": 9,
    "reports": [],
    "protected_tokens": 64,
    "protected_blocks": 2,
    "free_blocks": 12,
    "total_blocks": 13,
    "block_size": 32,
    "counters": {"applied": 5, "hit": 3, "expired": 1, "broken": 1, "lost": 0, "released": 2, "ignored": 4},
    "guard": True,
    "max_num_seqs": 64,
}


class FakeCore:
    def __init__(self) -> None:
        self.messages: list[dict[str, object]] = []

    async def call_utility_async(self, method: str, *args: str) -> str:
        assert method == "agentserve_control"
        self.messages += [json.loads(argument) for argument in args]
        return json.dumps(STATUS)


@dataclass
class FakeClient:
    engine_core: FakeCore


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


async def serving(core: FakeCore, scheduler: str | None) -> httpx.AsyncClient:
    app, plugin = FastAPI(), AgentservePlugin()
    plugin.attach_router(app)
    await plugin.init_state(FakeClient(core), State(), Namespace(scheduler_cls=scheduler))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine")


@pytest.fixture
async def http(core: FakeCore) -> AsyncIterator[httpx.AsyncClient]:
    async with await serving(core, SCHEDULER) as client:
        yield client


async def test_pins_go_to_the_engine_and_its_answer_comes_back(http: httpx.AsyncClient, core: FakeCore) -> None:
    body = {"pins": [{"program": "default/a", "ttl": 3}], "since": 4}
    answer = await http.post("/agentserve/v1/pins", json=body)
    assert (answer.status_code, answer.json()) == (200, STATUS)
    assert answer.headers["content-type"] == "application/json"
    assert core.messages == [{"pins": [{"program": "default/a", "ttl": 3.0}], "since": 4}]


async def test_reading_sets_nothing(http: httpx.AsyncClient, core: FakeCore) -> None:
    await http.get("/agentserve/v1/pins")
    await http.get("/agentserve/v1/pins", params={"since": 7})
    assert core.messages == [{"pins": [], "since": None}, {"pins": [], "since": 7}]


@pytest.mark.parametrize("since", ["-1", "x", "", "1e3", "9" * 50, "²"])
async def test_a_bad_cursor_is_refused(http: httpx.AsyncClient, core: FakeCore, since: str) -> None:
    answer = await http.get("/agentserve/v1/pins", params={"since": since})
    assert (answer.status_code, answer.json()) == (400, {"error": "'since' must be a report's number, 0 or more"})
    assert core.messages == []


async def test_a_bad_body_never_reaches_the_engine(http: httpx.AsyncClient, core: FakeCore) -> None:
    answer = await http.post("/agentserve/v1/pins", content=b'{"pins": [')
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body is not JSON")
    assert core.messages == []


async def test_a_huge_body_is_refused_before_it_is_read(http: httpx.AsyncClient, core: FakeCore) -> None:
    answer = await http.post("/agentserve/v1/pins", content=b" " * (MAX_BODY + 1))
    assert answer.status_code == 413
    assert core.messages == []


async def test_the_plugin_says_what_it_is(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "vllm_version", lambda: "0.32.0")
    answer = await http.get("/agentserve/v1/plugin")
    assert answer.json() == {
        "plugin": "agentserve",
        "version": version("agentserve"),
        "vllm": "0.32.0",
        "guard": True,
        "max_num_seqs": 64,
        "tail_scoring": True,
    }


async def test_metrics_are_a_prometheus_page(http: httpx.AsyncClient) -> None:
    page = (await http.get("/agentserve/v1/metrics")).text
    samples = {
        (sample.name, sample.labels.get("outcome")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert samples == {
        ("agentserve_pins_total", "applied"): 5,
        ("agentserve_pins_total", "hit"): 3,
        ("agentserve_pins_total", "expired"): 1,
        ("agentserve_pins_total", "broken"): 1,
        ("agentserve_pins_total", "lost"): 0,
        ("agentserve_pins_total", "released"): 2,
        ("agentserve_ignored_requests_total", None): 4,
        ("agentserve_protected_tokens", None): 64,
        ("agentserve_protected_blocks", None): 2,
        ("agentserve_free_blocks", None): 12,
        ("agentserve_total_blocks", None): 13,
    }


@pytest.mark.parametrize("path", ["pins", "plugin", "metrics"])
async def test_without_the_scheduler_every_route_says_how_to_get_it(core: FakeCore, path: str) -> None:
    async with await serving(core, scheduler=None) as http:
        answer = await http.get(f"/agentserve/v1/{path}")
    assert answer.status_code == 503
    assert answer.json()["error"].endswith(f"start vLLM with --scheduler-cls {SCHEDULER}")
    assert core.messages == []


async def test_pins_are_not_taken_from_a_brain_that_was_followed_by_another(http: httpx.AsyncClient) -> None:
    statuses = []
    for epoch in ("5", "9", "5", "x"):
        answer = await http.post("/agentserve/v1/pins", json={"pins": []}, headers={"x-agentserve-epoch": epoch})
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 409, 400]
