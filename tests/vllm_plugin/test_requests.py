"""What the gateway makes of clients' requests is what vLLM's own routes take: checked by vLLM's models of a request."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel
from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
from vllm.entrypoints.generate.base.protocol import validate_cache_salt
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

from agentserve.config import parse
from agentserve.gateway.request import parse_request
from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.upstream import engine_body
from scheduler.actions import Dispatch, Why
from scheduler.types import CallId, EngineId, ProgramKey, TenantId
from tests.gateway.fakes import SPEC
from tests.gateway.spoken import SPOKEN
from tests.gateway.world import ANY_POOL

TENANT = TenantId("t" * 64)
"""The longest name that there may be."""
MODELS: dict[str, type[BaseModel]] = {
    "chat": ChatCompletionRequest,
    "completions": CompletionRequest,
    "responses": ResponsesRequest,
    "messages": AnthropicMessagesRequest,
}


@pytest.mark.parametrize("own", [None, "mine"])
@pytest.mark.parametrize("name", SPOKEN)
def test_a_tenants_call_is_one_that_vllm_takes(name: str, own: str | None) -> None:
    tenants = [{"name": TENANT, "allow": ["cache_salt", "vllm_xargs"]}]
    passage = Roster(parse({"pools": ANY_POOL, "keys": "keys.json", "tenants": tenants})).of(TENANT).passage
    fields = {**SPOKEN[name].request, "stream": True, "vllm_xargs": {"x": 1}, **({"cache_salt": own} if own else {})}
    request = parse_request(SPOKEN[name].path, json.dumps(fields).encode(), passage.salt)
    dispatch = Dispatch(CallId("c"), EngineId("a"), 3, 3, 2.5, Why.DIRECT, 0.0, 16)
    body = engine_body(request, ProgramKey(TENANT, "p" * 256), dispatch, SPEC, passage)
    taken = MODELS[name].model_validate_json(body)
    validate_cache_salt(taken.cache_salt)  # type: ignore[attr-defined]
    assert taken.vllm_xargs["agentserve_ttl"] == 2.5  # type: ignore[attr-defined]
