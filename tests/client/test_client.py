from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

import agentserve
import agentserve.client
from agentserve import AgentserveError, AsyncClient, Client

ANSWER = {"choices": [{"message": {"content": "hi"}}]}
MESSAGES = [{"role": "user", "content": "hello"}]


class Gateway:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.answer = answer or (lambda request: httpx.Response(200, json=ANSWER))
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(request)

    @property
    def log(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    def client(self, base_url: str = "http://gateway") -> Client:
        client = Client(base_url, api_key="secret")
        client._http._transport = httpx.MockTransport(self)
        return client

    def async_client(self) -> AsyncClient:
        client = AsyncClient("http://gateway")
        client._http._transport = httpx.MockTransport(self)
        return client


def test_the_public_names_are_these() -> None:
    """As type checkers see them, who read `import *`."""
    assert set(agentserve.__all__) == {*agentserve.client.__all__, "Graph", "__version__"}
    assert all(hasattr(agentserve, name) for name in agentserve.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        agentserve.Cleint  # type: ignore[attr-defined]  # noqa: B018


def test_calls_of_a_program_carry_its_identity_and_leaving_ends_it() -> None:
    gateway = Gateway()
    with gateway.client() as client, client.program("p/1", workflow="fix", parent="p/0", deadline=60) as program:
        assert program.chat(MESSAGES, model="m", stage="plan", temperature=0) == ANSWER
        program.chat(MESSAGES, model="m", final=True)
    assert gateway.log == [
        "POST /v1/chat/completions",
        "POST /v1/chat/completions",
        "DELETE /agentserve/v1/programs/p%2F1",
    ]
    first, second, _ = (request.headers for request in gateway.requests)
    assert json.loads(gateway.requests[0].content) == {"messages": MESSAGES, "model": "m", "temperature": 0}
    assert first["authorization"] == "Bearer secret"
    ours = {name: value for name, value in first.items() if name.startswith("x-agentserve-")}
    assert 0 < int(ours.pop("x-agentserve-deadline-ms")) <= 60_000
    assert ours == {
        "x-agentserve-program": "p/1",
        "x-agentserve-workflow": "fix",
        "x-agentserve-parent": "p/0",
        "x-agentserve-stage": "plan",
    }
    assert (second["x-agentserve-final"], second.get("x-agentserve-stage")) == ("true", None)


def test_a_program_without_an_id_gets_one_of_its_own() -> None:
    client = Gateway().client()
    first, second = client.program(), client.program()
    assert first.headers() == {"x-agentserve-program": first.id}
    assert first.id != second.id


def test_a_deadline_that_has_passed_is_still_a_deadline() -> None:
    assert Gateway().client().program(deadline=-5).headers()["x-agentserve-deadline-ms"] == "1"


def test_a_stage_in_any_language_is_sent() -> None:
    gateway = Gateway()
    gateway.client().program("prüfen").chat(MESSAGES, model="m")
    assert dict(gateway.requests[0].headers.raw)[b"x-agentserve-program"] == "prüfen".encode()


@pytest.mark.parametrize("base_url", ["http://gateway/", "http://gateway/v1", "http://gateway/v1/"])
def test_the_base_url_of_an_openai_client_does_as_well(base_url: str) -> None:
    gateway = Gateway()
    gateway.client(base_url).program().chat(MESSAGES, model="m")
    assert str(gateway.requests[0].url) == "http://gateway/v1/chat/completions"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            httpx.Response(404, json={"error": {"message": "the model 'x' does not exist"}}),
            "the model 'x' does not exist",
        ),
        (httpx.Response(404, text="gone fishing"), "gone fishing"),
        (httpx.Response(404, json=["x"]), '["x"]'),
        (httpx.Response(404), "Not Found"),
    ],
)
def test_an_error_carries_the_status_and_what_the_server_said(response: httpx.Response, message: str) -> None:
    program = Gateway(lambda request: response).client().program()
    with pytest.raises(AgentserveError) as caught:
        program.chat(MESSAGES, model="x")
    assert (caught.value.status, caught.value.message) == (404, message)


def test_an_answer_that_is_no_json_is_an_error() -> None:
    program = Gateway(lambda request: httpx.Response(200, text="<html>")).client().program()
    with pytest.raises(AgentserveError, match="<html>"):
        program.chat(MESSAGES, model="x")


def test_a_gateway_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(AgentserveError, match=r"no answer from the gateway at http://127\.0\.0\.1:1/v1") as caught:
        Client("http://127.0.0.1:1").program().chat(MESSAGES, model="x")
    assert caught.value.status is None


def test_streams_are_refused_with_the_way_out() -> None:
    gateway = Gateway()
    with pytest.raises(ValueError, match=r"program\.headers\(\)"):
        gateway.client().program().chat(MESSAGES, model="m", stream=True)
    assert gateway.requests == []


def unknown_program(request: httpx.Request) -> httpx.Response:
    return httpx.Response(404, json={"error": {"message": "no such program"}})


def broken(request: httpx.Request) -> httpx.Response:
    return httpx.Response(500, json={"error": {"message": "broken"}})


def test_ending_a_program_that_the_gateway_does_not_know_is_fine() -> None:
    gateway = Gateway(unknown_program)
    with gateway.client().program("p"):
        pass
    assert gateway.log == ["DELETE /agentserve/v1/programs/p"]


def test_an_end_that_fails_is_raised_but_never_hides_the_agents_own_error() -> None:
    with pytest.raises(AgentserveError, match="broken"), Gateway(broken).client().program():
        pass
    with pytest.raises(KeyError), Gateway(broken).client().program():
        raise KeyError("the agent's own")


async def test_the_async_client_does_the_same() -> None:
    gateway = Gateway()
    async with gateway.async_client() as client, client.program("p") as program:
        assert await program.chat(MESSAGES, model="m", stage="plan") == ANSWER
    assert gateway.log == ["POST /v1/chat/completions", "DELETE /agentserve/v1/programs/p"]
    assert gateway.requests[0].headers["x-agentserve-stage"] == "plan"


async def test_the_async_client_raises_the_same_errors() -> None:
    with pytest.raises(AgentserveError, match="broken"):
        async with Gateway(broken).async_client().program():
            pass
    with pytest.raises(KeyError):
        async with Gateway(broken).async_client().program():
            raise KeyError("the agent's own")
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(AgentserveError, match="no answer from the gateway"):
            await client.program().chat(MESSAGES, model="x")


@pytest.fixture
def told() -> Gateway:
    """A gateway that says in its answers which engine gave them."""
    headers = {"x-agentserve-engine": "fast", "x-agentserve-queue-ms": "1500"}
    return Gateway(lambda request: httpx.Response(200, json=echo(request), headers=headers))


def echo(request: httpx.Request) -> object:
    return {"choices": [{"message": {"content": json.loads(request.content)["messages"][0]["content"]}}]}


def prompts(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


def test_an_answer_tells_its_text_its_engine_and_how_long_it_was_held(told: Gateway) -> None:
    answer = told.client().program().chat(*prompts("hello"))
    assert (answer.text, answer.engine, answer.queue_seconds) == ("hello", "fast", 1.5)
    assert answer.seconds >= 0


def test_an_answer_of_another_server_tells_no_engine() -> None:
    empty = {"choices": [{"message": {"content": None}}]}
    answer = Gateway(lambda _: httpx.Response(200, json=empty)).client().program().chat(MESSAGES)
    assert (answer.text, answer.engine, answer.queue_seconds) == ("", None, None)


def test_several_calls_at_once_are_answered_in_their_order(told: Gateway) -> None:
    program = told.client().program()
    answers = program.chats(prompts("a", "b", "c"), stage="evaluate", model="m")
    assert [answer.text for answer in answers] == ["a", "b", "c"]
    assert {request.headers["x-agentserve-stage"] for request in told.requests} == {"evaluate"}
    assert {request.headers["x-agentserve-program"] for request in told.requests} == {program.id}
    assert program.chats([]) == []


async def test_several_asynchronous_calls_at_once_are_answered_in_their_order(told: Gateway) -> None:
    async with told.async_client() as client:
        answers = await client.program().chats(prompts("a", "b", "c"), stage="evaluate")
        assert [answer.text for answer in answers] == ["a", "b", "c"]
        assert await client.program().chats([]) == []


async def test_one_of_several_calls_that_fails_fails_them_all() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b'"b"' in request.content:
            return httpx.Response(503, json={"error": {"message": "no engine is left"}})
        return httpx.Response(200, json=ANSWER)

    with pytest.raises(AgentserveError, match="no engine is left"):
        Gateway(answer).client().program().chats(prompts("a", "b"))
    async with Gateway(answer).async_client() as client:
        with pytest.raises(AgentserveError, match="no engine is left"):
            await client.program().chats(prompts("a", "b", "c"))
