from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentserve.config import parse
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import EngineError, PinOrder
from agentserve.engines.factory import build_engines, default_logs
from agentserve.engines.in_process import InProcessEngine
from agentserve.engines.launched import LaunchedEngine
from tests.engines.mock_engine import MockEngine, serve


def engines_of(logs: Path, *sections: dict[str, object]) -> list[AttachedEngine]:
    return build_engines(parse({"pools": [{"model": "m", "engines": list(sections)}]}), logs)


def test_every_kind_is_built_in_the_order_of_the_file(tmp_path: Path) -> None:
    engines = engines_of(
        tmp_path, {"url": "http://h:1/v1"}, {"name": "b", "launch": {"model": "org/m"}}, {"emulated": {}}
    )
    assert [type(engine) for engine in engines] == [AttachedEngine, LaunchedEngine, InProcessEngine]
    assert [engine.name for engine in engines] == ["engine-0", "b", "engine-2"]
    assert engines[0].url == "http://h:1"
    assert isinstance(engines[1], LaunchedEngine)
    assert engines[1].log == tmp_path / "b.log"


async def test_what_the_file_says_of_an_engine_by_url_reaches_its_spec(tmp_path: Path) -> None:
    async with serve(MockEngine(pages={})) as mock:
        (engine,) = engines_of(tmp_path, {"url": mock.url, "kv_tokens": 1234, "priority": True})
        spec = await engine.start(lambda line: None)
        await engine.stop()
    assert (spec.kv_tokens, spec.priority) == (1234, True)


def test_logs_go_to_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert default_logs() == Path("/cache/agentserve/logs")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_logs() == Path("/home/me/.cache/agentserve/logs")


async def test_an_emulated_engine_says_what_it_is_and_serves(tmp_path: Path) -> None:
    (engine,) = engines_of(tmp_path, {"emulated": {"kv_tokens": 4096, "speed": 20.0}})
    lines: list[str] = []
    try:
        spec = await engine.start(lines.append)
        assert lines == ["engine engine-0 is emulated: its times are modelled and its text is filler"]
        assert (spec.models, spec.max_model_len, spec.retention, spec.priority) == (("m",), 4096, True, True)
        assert spec.kv_tokens == 4096
        body = {
            "model": "m",
            "max_tokens": 3,
            "messages": [{"role": "user", "content": "hello " * 100}],
            "vllm_xargs": {"agentserve_program": "default/p", "agentserve_rank": 1, "agentserve_ttl": 3600.0},
        }
        reply = await engine.open("/v1/chat/completions", {}, json.dumps(body).encode())
        answer = json.loads(b"".join([chunk async for chunk in reply.chunks()]))
        assert answer["usage"]["completion_tokens"] == 3
        assert [report.outcome for report in await engine.pin([])] == ["applied"]
        await engine.pin([PinOrder("default/p", 0.0)])
        assert (await engine.observe()).running == 0
        await engine.start(lines.append)
        assert await engine.healthy()
    finally:
        await engine.stop()
    assert not await engine.healthy()


async def test_a_profile_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (engine,) = engines_of(tmp_path, {"emulated": {"profile": str(tmp_path / "none.json")}})
    with pytest.raises(EngineError, match=r"could not be emulated: .*none\.json"):
        await engine.start(lambda line: None)
    await engine.stop()
