import json
from collections.abc import AsyncIterator

import pytest

from tests.gateway.world import CHAT, COMPLETIONS, World, chat, world

USER = {"role": "user", "content": "hi"}

BODIES: dict[str, tuple[str, object, int, str | None]] = {
    "no model": (CHAT, {"messages": [USER]}, 400, "model"),
    "model is a number": (CHAT, {"model": 3, "messages": [USER]}, 400, "model"),
    "unknown model": (CHAT, {"model": "gpt-9", "messages": [USER]}, 404, "model"),
    "no messages": (CHAT, {"model": "m"}, 400, "messages"),
    "messages is a text": (CHAT, {"model": "m", "messages": "hi"}, 400, "messages"),
    "a message is a text": (CHAT, {"model": "m", "messages": [USER, "hi"]}, 400, "messages[1]"),
    "stream is a text": (CHAT, chat(stream="yes"), 400, "stream"),
    "stream options is a list": (CHAT, chat(stream=True, stream_options=[]), 400, "stream_options"),
    "stream options without stream": (CHAT, chat(stream_options={"include_usage": True}), 400, "stream_options"),
    "max_tokens is zero": (CHAT, chat(max_tokens=0), 400, "max_tokens"),
    "max_tokens is true": (CHAT, chat(max_tokens=True), 400, "max_tokens"),
    "max_tokens is a text": (CHAT, chat(max_tokens="9"), 400, "max_tokens"),
    "max_completion_tokens": (CHAT, chat(max_completion_tokens=-1), 400, "max_completion_tokens"),
    "no prompt": (COMPLETIONS, {"model": "m"}, 400, "prompt"),
    "prompt is empty": (COMPLETIONS, {"model": "m", "prompt": []}, 400, "prompt"),
    "prompt is a number": (COMPLETIONS, {"model": "m", "prompt": 3}, 400, "prompt"),
    "prompt is mixed": (COMPLETIONS, {"model": "m", "prompt": ["a", 3]}, 400, "prompt"),
    "negative token": (COMPLETIONS, {"model": "m", "prompt": [1, -3]}, 400, "prompt"),
    "context too long in tokens": (COMPLETIONS, {"model": "m", "prompt": [7] * 4096}, 400, None),
    "context too long in bytes": (CHAT, chat("x" * 4096 * 1024), 400, None),
    "context is no JSON": (CHAT, chat(vllm_xargs={"agentic_context": "{"}), 400, "vllm_xargs.agentic_context"),
    "context id is a number": (
        CHAT,
        chat(vllm_xargs={"agentic_context": {"task_id": 3}}),
        400,
        "vllm_xargs.agentic_context.task_id",
    ),
    "context is too long": (
        CHAT,
        chat(vllm_xargs={"agentic_context": " " * 20_000}),
        400,
        "vllm_xargs.agentic_context",
    ),
    "context deadline": (
        CHAT,
        chat(vllm_xargs={"agentic_context": {"deadline": -1}}),
        400,
        "vllm_xargs.agentic_context.deadline",
    ),
    "hint is a text": (CHAT, chat(agentserve="p"), 400, "agentserve"),
    "hint's priority": (CHAT, chat(agentserve={"priority": 101}), 400, "agentserve.priority"),
}


async def check(w: World, path: str, content: bytes | AsyncIterator[bytes], status: int) -> str | None:
    """Sends it, checks the error's shape and that no engine saw anything; returns the parameter it names."""
    answer = await w.client.post(path, content=content)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert not w.engine.sent
    assert not w.brain.programs
    param = error["param"]
    assert param is None or isinstance(param, str)
    return param


async def test_wrong_bodies_are_refused_in_the_apis_own_shape() -> None:
    async with world() as w:
        for name, (path, body, status, param) in BODIES.items():
            assert await check(w, path, json.dumps(body).encode(), status) == param, name


async def test_malformed_json_is_refused() -> None:
    async with world() as w:
        for content in (b"", b"{", b"[]", b'"hi"', b"\xff\xfe", b'{"model": NaN}'):
            await check(w, CHAT, content, 400)


ABSURD = {
    "x-agentserve-program": ["p" * 257, "a\tb", "\xe9"],
    "x-agentserve-parent": ["p" * 257],
    "x-agentserve-stage": ["s" * 257],
    "x-agentserve-workflow": ["w\tx"],
    "x-agentserve-deadline-ms": ["-5", "0", "soon", "1e3", "9" * 13, "9" * 300],
    "x-agentserve-final": ["maybe"],
    "x-agentserve-priority": ["high", "1.5", "101", "--1"],
    "x-agentserve-expected-output": ["-1", "many"],
}


async def test_absurd_headers_are_refused() -> None:
    content = json.dumps(chat()).encode()
    async with world() as w:
        for header, values in ABSURD.items():
            for value in values:
                headers = [(header.encode(), value.encode("latin-1"))]
                answer = await w.client.post(CHAT, content=content, headers=headers)
                assert answer.status_code == 400, (header, value)
                assert answer.json()["error"]["param"] == header
        assert not w.engine.sent


async def unannounced(content: bytes) -> AsyncIterator[bytes]:
    """A body in two parts, of which nobody knows how many follow."""
    yield content[:60_000]
    yield content[60_000:]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(announced: bool) -> None:
    async with world(limits={"body_bytes": 100_000}) as w:
        content = b" " * 150_000
        await check(w, CHAT, content if announced else unannounced(content), 413)


async def test_the_largest_body_that_is_allowed_passes() -> None:
    body = json.dumps(chat("x")).encode()
    async with world(limits={"body_bytes": len(body)}) as w:
        assert (await w.client.post(CHAT, content=body)).status_code == 200
        assert (await w.client.post(CHAT, content=body + b" ")).status_code == 413


async def test_other_paths_and_methods_answer_in_the_same_shape() -> None:
    async with world() as w:
        for method, path, status in (
            ("GET", CHAT, 405),
            ("POST", "/v1/nothing", 404),
            ("POST", "/health", 405),
            ("GET", "/v1/models/gpt-9", 404),
        ):
            answer = await w.client.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["message"]
