"""What all protocols have in common: bytes that pass, what is read of them, and errors in their own shape."""

from __future__ import annotations

import asyncio
import json
from functools import cached_property
from pathlib import Path

import pytest

import agentserve.gateway.call as call_module
from agentserve.engines.base import EngineError
from agentserve.gateway.errors import ApiError
from agentserve.gateway.protocols import PROTOCOLS
from scheduler.brain import Brain, Decision
from scheduler.events import CallArrived, CallFinished, Event
from scheduler.types import Usage
from tests.gateway.fakes import FakeEngine, FakeReply
from tests.gateway.spoken import CHATS, COMPLETION, MESSAGE, RESPONSE, SPOKEN, Spoken, named
from tests.gateway.world import MESSAGES, RESPONSES, World, until_idle, world

EVENT_STREAM = {"content-type": "text/event-stream"}
EACH = pytest.mark.parametrize("spoken", SPOKEN.values(), ids=SPOKEN)
HAS_USAGE_OPTION = (CHATS, COMPLETION)


class Listener(Brain):
    """Remembers how calls came and ended."""

    @cached_property
    def arrived(self) -> list[CallArrived]:
        return []

    @cached_property
    def finished(self) -> list[CallFinished]:
        return []

    def handle(self, event: Event) -> Decision:
        if isinstance(event, CallFinished):
            self.finished.append(event)
        elif isinstance(event, CallArrived):
            self.arrived.append(event)
        return super().handle(event)


def the_end(w: World) -> CallFinished:
    """How the only call ended."""
    assert isinstance(w.brain, Listener)
    (finished,) = w.brain.finished
    return finished


@EACH
@pytest.mark.parametrize("cut", [None, 7])
async def test_a_stream_passes_as_it_is_and_is_understood(spoken: Spoken, cut: int | None) -> None:
    sent = b"".join(spoken.stream)
    pieces = spoken.stream if cut is None else [sent[at : at + cut] for at in range(0, len(sent), cut)]
    async with world(kind=Listener) as w:
        w.engine.script.append(FakeReply(pieces, headers=EVENT_STREAM))
        body = {**spoken.request, "stream": True}
        if spoken in HAS_USAGE_OPTION:
            body["stream_options"] = {"include_usage": True}
        answer = await w.client.post(spoken.path, json=body)
        assert (answer.status_code, answer.content) == (200, sent)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert the_end(w).usage == Usage(12, 2, 4)


@EACH
@pytest.mark.parametrize("stream", [True, False])
async def test_the_tool_that_an_answer_calls_is_told(spoken: Spoken, stream: bool) -> None:
    async with world(kind=Listener) as w:
        w.engine.script.append(FakeReply(spoken.tool if stream else [spoken.whole_tool], headers=EVENT_STREAM))
        await w.client.post(spoken.path, json={**spoken.request, "stream": stream})
        assert the_end(w).tools == ("search",)


@EACH
async def test_a_whole_answer_passes_as_it_is_and_is_understood(spoken: Spoken) -> None:
    async with world(kind=Listener) as w:
        w.engine.script.append(FakeReply([spoken.whole], headers={"content-type": "application/json"}))
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert (answer.status_code, answer.content) == (200, spoken.whole)
        assert the_end(w).usage == Usage(12, 2, 4)


@EACH
async def test_the_engine_gets_the_clients_bytes_and_our_fields(spoken: Spoken) -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([spoken.whole]))
        body = json.dumps(spoken.request).encode()[:-1] + b', "x":  1e3 ,"session_id":"s","agentserve":{"stage":"a"}}'
        await w.client.post(spoken.path, content=body, headers={"x-agentserve-program": "p"})
        (sent,) = w.engine.sent
        assert sent.path == spoken.path
        assert sent.body.startswith(json.dumps(spoken.request).encode()[:-1] + b', "x":  1e3')
        extra = {name for name in sent.json if name not in spoken.request} - {"x"}
        assert extra == ({"vllm_xargs"} if spoken is MESSAGE else {"vllm_xargs", "priority"})
        assert sent.headers.get("x-vllm-priority") == ("0" if spoken is MESSAGE else None)


@EACH
async def test_a_wrong_request_is_refused_in_the_protocols_shape(spoken: Spoken) -> None:
    wrong: list[tuple[bytes, int]] = [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe{}", 400),
        (json.dumps({**spoken.request, "model": 3}).encode(), 400),
        (json.dumps({**spoken.request, "model": "gpt-9"}).encode(), 404),
        (json.dumps({**spoken.request, "stream": "yes"}).encode(), 400),
        (json.dumps({"model": "m"}).encode(), 400),
    ]
    async with world() as w:
        for content, status in wrong:
            answer = await w.client.post(spoken.path, content=content)
            assert answer.status_code == status, content
            assert spoken.error(answer.json())
        assert (await w.client.get(spoken.path)).status_code == 405
        assert not w.engine.sent


@EACH
async def test_an_engine_that_fails_is_told_in_the_protocols_shape(spoken: Spoken) -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([b"CUDA out of memory"], status=500))
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert answer.status_code == 502
        assert "CUDA out of memory" in spoken.error(answer.json())


@EACH
async def test_an_endpoint_that_the_engine_does_not_offer_is_a_clear_error(spoken: Spoken) -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([b'{"detail":"Not Found"}'], status=404))
        answer = await w.client.post(spoken.path, json={**spoken.request, "stream": True})
        assert answer.status_code == 404
        assert f"does not offer {spoken.path}" in spoken.error(answer.json())
        await until_idle(w.brain)


@EACH
async def test_what_an_engine_refuses_is_in_the_protocols_shape(spoken: Spoken) -> None:
    refusal = {"error": {"message": "x is missing", "type": "Bad Request", "param": "x", "code": 400}}
    async with world() as w:
        w.engine.script.append(FakeReply([json.dumps(refusal).encode()], status=400))
        answer = await w.client.post(spoken.path, json=spoken.request)
        assert (answer.status_code, spoken.error(answer.json())) == (400, "x is missing")


@EACH
async def test_a_stream_that_breaks_off_ends_with_the_protocols_error_event(spoken: Spoken) -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([*spoken.stream[:-2], EngineError("engine a broke off")]))
        answer = await w.client.post(spoken.path, json={**spoken.request, "stream": True})
        sent = answer.content.removeprefix(b"".join(spoken.stream[:-2]))
        _check_error_event(spoken, sent, "broke off")
        await until_idle(w.brain)


@EACH
async def test_a_stream_that_waits_is_kept_alive_as_the_protocol_does_it(
    spoken: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_module, "KEEP_ALIVE", 0.01)
    go = asyncio.Event()
    async with world(limits={"first_byte_hold": 0.01}) as w:
        w.engine.script.append(FakeReply([go, EngineError("engine a broke off")]))
        async with w.client.stream("POST", spoken.path, json={**spoken.request, "stream": True}) as answer:
            got = b""
            async for piece in answer.aiter_raw():
                got += piece
                if got.startswith(2 * spoken.keep_alive):
                    go.set()
        assert answer.status_code == 200
        _check_error_event(spoken, got.replace(spoken.keep_alive, b""), "broke off")


def _check_error_event(spoken: Spoken, sent: bytes, message: str) -> None:
    error, *rest = [part + b"\n\n" for part in sent.split(b"\n\n") if part]
    assert tuple(rest) == tuple(spoken.done)
    name, _, data = error.rpartition(b"data: ")
    assert name == (b"" if spoken.done else b"event: error\n")
    assert message in spoken.error_event(json.loads(data))


@pytest.mark.parametrize(
    ("spoken", "event"),
    [
        (MESSAGE, {"type": "error", "error": {"type": "overloaded_error", "message": "engine dead"}}),
        (RESPONSE, {"type": "error", "code": "server_error", "message": "engine dead", "param": None}),
        (RESPONSE, {"type": "response.failed", "response": {"id": "r", "error": {"message": "engine dead"}}}),
    ],
)
async def test_an_engines_own_error_event_passes_and_counts_as_failure(
    spoken: Spoken, event: dict[str, object]
) -> None:
    async with world() as w:
        broken = (*spoken.stream[:3], named(event))
        w.engine.script.append(FakeReply(broken))
        answer = await w.client.post(spoken.path, json={**spoken.request, "stream": True})
        assert answer.content == b"".join(broken)
        assert 'status="engine_error"} 1.0' in (await w.client.get("/metrics")).text


async def test_an_error_event_in_place_of_an_answer_sends_the_call_elsewhere() -> None:
    async with world(FakeEngine("a"), FakeEngine("b")) as w:
        dead = named({"type": "error", "error": {"type": "api_error", "message": "engine dead"}})
        w.engine.script.append(FakeReply([dead]))
        w.engines[1].script.append(FakeReply(MESSAGE.stream))
        answer = await w.client.post(MESSAGES, json={**MESSAGE.request, "stream": True})
        assert answer.content == b"".join(MESSAGE.stream)
        assert answer.headers["x-agentserve-why"] == "retried"


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
async def test_anthropics_version_headers_reach_the_engine_untouched(path: str) -> None:
    async with world() as w:
        w.engine.script.append(FakeReply([MESSAGE.whole]))
        headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2", "x-stainless-lang": "python"}
        await w.client.post(path, json=MESSAGE.request, headers=headers)
        sent = w.engine.sent[0].headers
        assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2023-06-01", "a-1,b-2")
        assert "x-stainless-lang" not in sent


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_error_of_ours_has_anthropics_word_for_its_status(status: int, kind: str) -> None:
    error = json.loads(PROTOCOLS[MESSAGES].error(ApiError(status, "no")))
    assert error == {"type": "error", "error": {"type": kind, "message": "no"}}


async def test_a_path_below_messages_that_nobody_knows_is_refused_in_anthropics_shape() -> None:
    async with world() as w:
        answer = await w.client.post(f"{MESSAGES}/batches", json={})
        assert answer.status_code == 404
        assert MESSAGE.error(answer.json())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_the_program_of_the_one_it_follows(stream: bool) -> None:
    async with world() as w:
        for _ in range(2):
            w.engine.script.append(FakeReply(RESPONSE.stream if stream else [RESPONSE.whole]))
        first = await w.client.post(RESPONSES, json={**RESPONSE.request, "stream": stream})
        body = {**RESPONSE.request, "previous_response_id": "resp_1"}
        second = await w.client.post(RESPONSES, json={**body, "stream": stream})
        program = first.headers["x-agentserve-program"]
        assert second.headers["x-agentserve-program"] == program
        assert w.engine.sent[1].json["previous_response_id"] == "resp_1"


async def test_a_response_finds_its_program_after_a_restart(tmp_path: Path) -> None:
    programs = []
    for previous in ({}, {"previous_response_id": "resp_1"}):
        async with world(state=str(tmp_path / "state.json")) as w:
            w.engine.script.append(FakeReply([RESPONSE.whole]))
            answer = await w.client.post(RESPONSES, json={**RESPONSE.request, **previous})
            programs.append(answer.headers["x-agentserve-program"])
    assert programs[0] == programs[1]


async def test_a_conversation_is_a_program() -> None:
    async with world() as w:
        for conversation in ("conv_1", {"id": "conv_1"}):
            w.engine.script.append(FakeReply([RESPONSE.whole]))
            answer = await w.client.post(RESPONSES, json={**RESPONSE.request, "conversation": conversation})
            assert answer.headers["x-agentserve-program"] == "conv_1"
        assert len(w.brain.programs) == 1


@EACH
async def test_what_a_client_hints_reaches_the_brain(spoken: Spoken) -> None:
    hints = {"priority": "7", "deadline-ms": "60000", "expected-output": "70", "final": "true"}
    async with world(kind=Listener) as w:
        w.engine.script.append(FakeReply([spoken.whole]))
        said = {f"x-agentserve-{name}": value for name, value in hints.items()}
        await w.client.post(spoken.path, json=spoken.request, headers=said)
        assert isinstance(w.brain, Listener)
        (call,) = w.brain.arrived
        assert (call.priority, call.expected_output, call.final) == (7, 70, True)
        assert call.deadline is not None
        assert call.deadline - call.at == pytest.approx(60, abs=1)
        assert not w.brain.programs, "its last call has ended"


async def test_a_response_in_the_background_is_refused() -> None:
    async with world() as w:
        answer = await w.client.post(RESPONSES, json={**RESPONSE.request, "background": True})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")
        assert not w.engine.sent


async def test_a_url_can_name_the_program() -> None:
    async with world() as w:
        for name, sent in (("run-42", "run-42"), ("a%2Fb%20c", "a/b c")):
            for spoken in SPOKEN.values():
                w.engine.script.append(FakeReply([spoken.whole]))
                answer = await w.client.post(f"/p/{name}{spoken.path}", json=spoken.request)
                assert answer.status_code == 200, spoken.path
                assert answer.headers["x-agentserve-program"] == sent
                assert w.engine.sent[-1].path == spoken.path
        assert (await w.client.get("/p/run-42/v1/models")).json()["data"][0]["id"] == "m"


@pytest.mark.parametrize("path", ["/p//v1/messages", "/p/a", "/p/%07/v1/messages", "/p/%FF/v1/messages", "/p/"])
async def test_a_url_that_names_no_program_is_not_found(path: str) -> None:
    async with world() as w:
        answer = await w.client.post(path, json=MESSAGE.request)
        assert answer.status_code == 404
        assert CHATS.error(answer.json())
