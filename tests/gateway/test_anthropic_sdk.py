"""The gateway as Anthropic's SDK sees it."""

from pathlib import Path

import anthropic
import pytest
from anthropic.types import Message, MessageParam

from agentserve.gateway.tenants.keys import changing
from tests.gateway.fakes import FakeReply
from tests.gateway.spoken import MESSAGE
from tests.gateway.world import world

ASKED: list[MessageParam] = [{"role": "user", "content": "hi"}]


async def asked(client: anthropic.AsyncAnthropic, model: str = "m", most: int = 9) -> Message:
    return await client.messages.create(model=model, max_tokens=most, messages=ASKED)


async def test_a_base_url_and_headers_of_the_environment_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{w.url}/p/run-42")
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-agentserve-workflow: swe")
        w.engine.script += [FakeReply([MESSAGE.whole]), FakeReply(MESSAGE.stream)]
        async with anthropic.AsyncAnthropic(api_key="none", max_retries=0) as client:
            answer = await asked(client)
            async with client.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
                text = await stream.get_final_text()
            assert [model.id async for model in client.models.list()] == ["m"]
        assert (answer.content[0].type, text) == ("text", "Hello world")
        (program,) = w.brain.programs.values()
        assert (program.key.program, program.workflow) == ("run-42", "swe")


async def test_errors_become_the_sdks_own(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with changing(path) as ring:
        key = ring.create("a", 0.0).text
    async with (
        world(keys=str(path), tenants=[{"name": "a", "requests_per_minute": 3}]) as w,
        anthropic.AsyncAnthropic(base_url=w.url, api_key=key, max_retries=0) as client,
    ):
        with pytest.raises(anthropic.AuthenticationError, match="not valid"):
            await asked(client.with_options(api_key="wrong"))
        with pytest.raises(anthropic.NotFoundError, match="gpt-9"):
            await asked(client, model="gpt-9")
        with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
            await asked(client, most=0)
        w.driver.engine_down(w.engine, "it hangs")
        with pytest.raises(anthropic.APIStatusError, match="no engine") as failed:
            await asked(client)
        assert failed.value.status_code == 503
        assert MESSAGE.error(failed.value.response.json())
        with pytest.raises(anthropic.RateLimitError, match="requests a minute"):
            await asked(client)
