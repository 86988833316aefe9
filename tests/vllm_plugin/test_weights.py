"""Weights of a running engine: what may be asked for, and what an engine does."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import State

from agentserve.vllm_plugin import weights
from agentserve.vllm_plugin.endpoint import SCHEDULER, AgentservePlugin
from agentserve.vllm_plugin.weights import BadWeightsError, Weights, load, parse_weights


class Process:
    """An engine core that remembers what it was told to load."""

    def __init__(self, unfinished: int = 0, error: Exception | None = None) -> None:
        self.scheduler = Requests(unfinished)
        self.loaded: list[dict[str, object]] = []
        self.emptied = 0
        self._error = error

    def collective_rpc(self, method: str, *, kwargs: dict[str, object]) -> object:
        assert method == "reload_weights"
        if self._error is not None:
            raise self._error
        self.loaded.append(kwargs)
        return None

    def reset_prefix_cache(self) -> bool:
        self.emptied += 1
        return True


@dataclass(frozen=True)
class Requests:
    unfinished: int

    def get_num_unfinished_requests(self) -> int:
        return self.unfinished


def test_weights_are_loaded_and_the_cache_is_emptied(tmp_path: Path) -> None:
    process = Process()
    assert json.loads(load(process, Weights(7, str(tmp_path)).to_json())) == {"version": 7}
    assert process.loaded == [{"weights_path": str(tmp_path)}]
    assert process.emptied == 1


def test_weights_that_are_there_already_only_empty_the_cache() -> None:
    process = Process()
    assert json.loads(load(process, Weights(7).to_json())) == {"version": 7}
    assert (process.loaded, process.emptied) == ([], 1)


def test_nothing_is_done_while_requests_are_unfinished(tmp_path: Path) -> None:
    process = Process(unfinished=3)
    assert json.loads(load(process, Weights(7, str(tmp_path)).to_json())) == {"busy": 3}
    assert (process.loaded, process.emptied) == ([], 0)


def test_a_missing_folder_changes_nothing_and_a_bad_one_may_have_changed_all(tmp_path: Path) -> None:
    missing = json.loads(load(Process(), Weights(7, str(tmp_path / "none")).to_json()))
    assert missing["unchanged"] is True
    assert str(tmp_path / "none") in missing["error"]
    broken = json.loads(load(Process(error=RuntimeError("shape mismatch")), Weights(7, str(tmp_path)).to_json()))
    assert broken == {"error": "the weights could not be loaded: shape mismatch", "unchanged": False}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        '{"version": "7"}',
        '{"version": -1}',
        '{"version": true}',
        '{"version": 1, "x": 1}',
        '{"version": 1, "path": 2}',
    ],
)
def test_what_is_no_order_is_refused(body: str) -> None:
    with pytest.raises(BadWeightsError):
        parse_weights(body)


@dataclass
class Core:
    """The connection to an engine process that answers from a list."""

    answers: list[dict[str, object]]
    asked: list[dict[str, object]] = field(default_factory=list)

    async def call_utility_async(self, method: str, *args: str) -> str:
        assert method == weights.METHOD
        self.asked += [json.loads(argument) for argument in args]
        return json.dumps(self.answers.pop(0))


async def test_the_route_says_by_its_status_what_became_of_the_order() -> None:
    core = Core([{"version": 2}, {"busy": 1}, {"error": "no", "unchanged": True}])
    app, plugin = FastAPI(), AgentservePlugin()
    plugin.attach_router(app)
    await plugin.init_state(SimpleNamespace(engine_core=core), State(), Namespace(scheduler_cls=SCHEDULER))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as http:
        answers = [await http.post("/agentserve/v1/weights", json={"version": 2}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 409, 422]
        assert core.asked == [{"version": 2, "path": None}] * 3
        assert (await http.post("/agentserve/v1/weights", json={"version": "x"})).status_code == 400
