from __future__ import annotations

import pytest

from agentserve.engines.base import EngineError
from agentserve.engines.http import HttpLeg
from agentserve.engines.probe import FALLBACK_CONTEXTS, FALLBACK_MODEL_LEN, FALLBACK_SEQS, Known, probe
from scheduler.types import EngineId, EngineSpec
from tests.engines.mock_engine import METRICS, MockEngine, serve


async def probed(mock: MockEngine, known: Known) -> tuple[EngineSpec, list[str]]:
    lines: list[str] = []
    async with serve(mock):
        leg = HttpLeg(EngineId("a"), mock.url)
        try:
            return await probe(leg, known, lines.append), lines
        finally:
            await leg.aclose()


async def test_an_engine_with_everything_has_nothing_to_report() -> None:
    spec, lines = await probed(MockEngine(), Known("m", priority=True, max_num_seqs=64))
    assert lines == []
    assert spec == EngineSpec(
        models=("m", "m-lora"),
        kv_tokens=256 * 32,  # one of the 257 blocks is vLLM's own
        block_size=32,
        max_model_len=4096,
        max_num_seqs=64,
        retention=True,
        tail_scoring=True,
        priority=True,
    )


async def test_a_plugin_of_before_scores_no_tails() -> None:
    mock = MockEngine()
    mock.pages["/agentserve/v1/plugin"] = '{"plugin": "agentserve", "version": "0.1.0"}'
    spec, _ = await probed(mock, Known("m"))
    assert (spec.retention, spec.tail_scoring) == (True, False)


async def test_how_many_calls_run_at_once_is_told_by_the_operator_or_the_plugin_or_assumed() -> None:
    told = MockEngine(
        pages=MockEngine().pages | {"/agentserve/v1/plugin": '{"plugin": "agentserve", "max_num_seqs": 1024}'}
    )
    specs = [
        (await probed(mock, known))[0]
        for mock, known in (
            (told, Known("m", max_num_seqs=64)),
            (told, Known("m")),
            (MockEngine(), Known("m")),
        )
    ]
    assert [spec.max_num_seqs for spec in specs] == [64, 1024, FALLBACK_SEQS]


async def test_stock_vllm_is_a_smaller_set_and_says_what_it_lacks() -> None:
    mock = MockEngine()
    del mock.pages["/agentserve/v1/plugin"]
    spec, lines = await probed(mock, Known("m"))
    assert (spec.retention, spec.priority, spec.kv_tokens) == (False, False, 8192)
    assert [line.partition(":")[0] for line in lines] == [
        "engine a runs without the agentserve plugin",
        "engine a is not known to order its queue by priority",
    ]


async def test_a_server_that_is_no_vllm_is_served_with_assumed_sizes() -> None:
    spec, lines = await probed(MockEngine(pages={"/health": "ok"}), Known("m"))
    assert spec.models == ("m",)
    assert (spec.max_model_len, spec.kv_tokens) == (FALLBACK_MODEL_LEN, FALLBACK_CONTEXTS * FALLBACK_MODEL_LEN)
    assert any("set kv_tokens" in line for line in lines)
    assert any("no vLLM metrics" in line for line in lines)


async def test_the_configured_memory_counts_where_the_engine_is_silent() -> None:
    spec, lines = await probed(MockEngine(pages={}), Known("m", kv_tokens=1000))
    assert spec.kv_tokens == 1000
    assert not any("kv_tokens" in line for line in lines)


@pytest.mark.parametrize("page", ["<html>hello</html>", '{"plugin": "another"}'])
async def test_a_plugin_page_of_something_else_is_no_plugin(page: str) -> None:
    mock = MockEngine()
    mock.pages["/agentserve/v1/plugin"] = page
    spec, _ = await probed(mock, Known("m"))
    assert not spec.retention


@pytest.mark.parametrize("page", ["<html>hello</html>", 'vllm:num_requests_running{engine="0" nonsense'])
async def test_a_metrics_page_of_something_else_is_no_metrics(page: str) -> None:
    mock = MockEngine()
    mock.pages["/metrics"] = page
    _, lines = await probed(mock, Known("m"))
    assert any("no vLLM metrics" in line for line in lines)


async def test_several_data_parallel_ranks_are_refused_with_the_way_out() -> None:
    mock = MockEngine()
    mock.pages["/metrics"] = METRICS + 'vllm:num_requests_running{engine="1",model_name="m"} 0.0\n'
    with pytest.raises(EngineError, match="start one engine a rank"):
        await probed(mock, Known("m"))


async def test_an_engine_that_serves_another_model_is_refused() -> None:
    with pytest.raises(EngineError, match="engine a serves m, m-lora, not smollm2"):
        await probed(MockEngine(), Known("smollm2"))


@pytest.mark.parametrize(("status", "page"), [(200, "garbage"), (401, '{"error": "key"}')])
async def test_garbage_for_a_list_of_models_is_refused_with_what_was_said(status: int, page: str) -> None:
    mock = MockEngine(status=status)
    mock.pages["/v1/models"] = page
    with pytest.raises(EngineError, match=f"with status {status}: {page[:3]}"):
        await probed(mock, Known("m"))


async def test_nobody_there_is_an_error_that_names_the_address() -> None:
    leg = HttpLeg(EngineId("a"), "http://127.0.0.1:1")
    with pytest.raises(EngineError, match=r"engine a gave no answer to GET http://127\.0\.0\.1:1/v1/models"):
        await probe(leg, Known("m"), print)
    await leg.aclose()
