"""Every route against what no client should send: an error in the route's own shape, never a 500, never the end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentserve.gateway.chain import Chain
from agentserve.gateway.errors import ApiError
from agentserve.gateway.identity import Registrar
from agentserve.gateway.passthrough import PASSED
from agentserve.gateway.protocols import PROTOCOLS
from agentserve.gateway.request import parse_request
from tests.gateway.spoken import SPOKEN, Fields, Spoken, anthropic_error, openai_error
from tests.gateway.world import MESSAGES, World, chat, until_idle, world

ROUTES = sorted({*PROTOCOLS, *PASSED})
NAMES = (
    "model", "messages", "input", "prompt", "stream", "stream_options", "max_tokens", "max_output_tokens", "tools",
    "system", "metadata", "conversation", "previous_response_id", "prompt_cache_key", "vllm_xargs", "agentserve",
    "priority", "stop", "stop_sequences", "background",
)  # fmt: skip
"""Fields that the gateway reads."""

GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \n\t",
    "no JSON": b"hello",
    "cut off": b'{"model":"m","messages":[{"role":"us',
    "more than one": b'{"model":"m"}{"model":"m"}',
    "a list": b"[1,2]",
    "a number": b"1e999",
    "not a number": b'{"model":"m","input":NaN}',
    "cut UTF-8": b'{"model":"m","input":"\xc3',
    "half a character": b'{"model":"m","input":"\xc3"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "lone surrogate": b'{"model":"\\ud800","input":"\\udfff"}',
    "nul": b'{"model":"\\u0000"}',
    "control character": b'{"model":"a\x01b"}',
    "deep": b'{"model":"m","input":' + b"[" * 100_000,
    "deep but closed": b'{"model":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "huge number": b'{"model":"m","max_tokens":' + b"9" * 10_000 + b"}",
    "huge name": b'{"model":"' + b"m" * 1_000_000 + b'"}',
    "huge key": b'{"model":7,"' + b"k" * 1_000_000 + b'":1}',
}

WRONG: list[object] = [
    None, True, -1, 1e300, "", "x" * 300, [], [[]], [None], {}, {"id": []}, {"user_id": "{"},
]  # fmt: skip


def shape(path: str) -> Callable[[Fields], str]:
    """Checks an error of a route."""
    return anthropic_error if path.startswith(MESSAGES) else openai_error


async def refused(w: World, path: str, content: bytes, headers: dict[str, str] | None = None) -> None:
    answer = await w.client.post(path, content=content, headers=headers)
    assert 400 <= answer.status_code < 500, (path, content[:100], answer.status_code)
    assert shape(path)(answer.json())


async def lives(w: World) -> None:
    """Nothing of what came is left, and the next call is served."""
    await until_idle(w.brain)
    assert (await w.client.post("/v1/chat/completions", json=chat())).status_code == 200


@pytest.mark.parametrize("path", ROUTES)
async def test_garbage_is_refused_in_the_shape_of_the_route(path: str) -> None:
    async with world() as w:
        for content in GARBAGE.values():
            await refused(w, path, content)
        assert not w.engine.sent
        await lives(w)


@pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
async def test_a_field_of_a_wrong_type_never_breaks_the_gateway(spoken: Spoken) -> None:
    async with world() as w:
        for name in NAMES:
            for value in WRONG:
                answer = await w.client.post(spoken.path, json={**spoken.request, name: value})
                assert answer.status_code != 500, (name, value, answer.text)
                assert answer.status_code == 200 or spoken.error(answer.json()), (name, value)
        await lives(w)


async def test_of_a_key_that_comes_twice_the_last_counts_and_the_engine_is_steered_by_none() -> None:
    async with world() as w:
        body = b'{"priority":-9,"model":"x","model":"m","messages":[],"messages":[{"role":"user"}],"priority":-8}'
        answer = await w.client.post("/v1/chat/completions", content=body)
        assert answer.status_code == 200
        assert w.engine.sent[0].body.count(b'"priority"') == 1
        assert w.engine.sent[0].json["priority"] == 0
        await lives(w)


HEADERS = (
    "x-agentserve-program", "x-agentserve-priority", "x-agentserve-deadline-ms", "x-session-id", "session-id",
    "x-claude-code-session-id", "x-claude-code-agent-id", "x-dynamo-session-id", "x-session-affinity", "baggage",
    "traceparent", "authorization", "anthropic-beta", "content-type",
)  # fmt: skip


async def test_absurd_headers_never_break_the_gateway() -> None:
    values = [b"", b"a" * 5000, b"\xff\xfe", b"%00", b"gen_ai.conversation.id=%ff", b"{}", b"=;,=" * 500, b"-1", b"1e9"]
    async with world() as w:
        for spoken in SPOKEN.values():
            content = json.dumps(spoken.request).encode()
            for name in HEADERS:
                for value in values:
                    answer = await w.client.post(spoken.path, content=content, headers=[(name.encode(), value)])
                    assert answer.status_code != 500, (name, value)
                    assert answer.status_code == 200 or shape(spoken.path)(answer.json())
        await lives(w)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), PLAIN, max_size=8)


@settings(max_examples=300)
@given(st.sampled_from(sorted(PROTOCOLS)), BODIES, st.dictionaries(st.sampled_from(HEADERS), st.binary(max_size=40)))
def test_whatever_comes_is_a_call_of_somebody_or_an_error(path: str, body: Fields, said: dict[str, bytes]) -> None:
    registrar = Registrar(Chain(), 1000)
    headers = {name.encode(): value for name, value in said.items()}
    try:
        request = registrar.continued(parse_request(path, json.dumps({"model": "m", **body}).encode()))
        identity = registrar.identify(headers, request)
        registrar.remember(request, identity)
    except ApiError as error:
        refusal: ApiError | None = error
    else:
        refusal = None
        assert 0 < len(identity.program.program.encode()) <= 256
        assert identity.parent is None or len(identity.parent.program.encode()) <= 256
    assert refusal is None or 400 <= refusal.status < 500
