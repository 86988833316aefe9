"""Two tenants with keys on one real engine."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from agentserve.gateway.protocols import PROTOCOLS
from agentserve.gateway.tenants.keys import changing
from scheduler.types import Tokens
from tests.engine_fixture import RealEngine
from tests.gateway.world import CHAT, COMPLETIONS, MESSAGES, RESPONSES
from tests.gateway_fixture import attached

TEXT = "one two three four " * 60
CHATTED = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 4}
ASKED: dict[str, dict[str, object]] = {
    CHAT: CHATTED,
    COMPLETIONS: {"prompt": TEXT, "max_tokens": 4},
    RESPONSES: {"input": TEXT, "max_output_tokens": 4},
    MESSAGES: CHATTED,
}


@pytest.mark.engine
@pytest.mark.parametrize("path", ASKED)
def test_a_tenant_hits_its_own_cache_and_never_anothers(path: str, vllm_engine: RealEngine, tmp_path: Path) -> None:
    with changing(tmp_path / "keys.json") as ring:
        name = path.rpartition("/")[2]
        one, other = (ring.create(f"{name}-{who}", 0.0).text for who in ("one", "other"))
    with attached(vllm_engine, tmp_path, keys=str(tmp_path / "keys.json")) as gateway:

        def cached(key: str) -> Tokens:
            body = {"model": vllm_engine.model, **ASKED[path]}
            answer = httpx.post(f"{gateway.url}{path}", json=body, headers={"x-api-key": key}, timeout=120)
            assert answer.status_code == 200, answer.text
            usage = PROTOCOLS[path].answer(answer.content).usage
            assert usage is not None
            return usage.cached or 0

        assert cached(one) == 0
        assert cached(one) > 0
        assert cached(other) == 0
