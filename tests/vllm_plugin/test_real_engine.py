"""The plugin in a real vLLM, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.engine_fixture import RealEngine

pytestmark = pytest.mark.engine


@pytest.fixture
def client(vllm_engine: RealEngine) -> Any:
    with httpx.Client(base_url=vllm_engine.url, timeout=120) as client:
        yield client


def test_plugin_describes_itself(client: httpx.Client) -> None:
    answer = client.get("/agentserve/v1/plugin")
    assert answer.status_code == 200, answer.text
    assert answer.json()["plugin"] == "agentserve"
