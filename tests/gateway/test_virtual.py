"""Virtual models through the gateway: one chat completion in front, a procedure over pools behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import pytest

from agentserve.config import ConfigError, parse
from agentserve.engines.base import EngineError
from agentserve.engines.factory import build_engines, default_logs
from agentserve.gateway.assembly import gateway
from scheduler.brain import Brain
from tests.gateway.fakes import SPEC, FakeEngine, FakeReply, Sent, usage
from tests.gateway.world import CHAT, eventually, serve

ANSWERED = r"So it is \boxed{42}."


class Writer(FakeEngine):
    """Writes one text; asked for one token, it is sure of `word`, if of any, and of each of its prompt's `tail`."""

    def __init__(
        self,
        name: str,
        text: str = ANSWERED,
        word: str | None = "yes",
        finish: str = "stop",
        tail: list[object] | None = None,
    ) -> None:
        super().__init__(name, replace(SPEC, models=(name,), tail_scoring=tail is not None))
        self.text, self.word, self.finish, self.tail = text, word, finish, tail
        self.down = False
        self.writes = True
        """Whether it also writes, and does not only judge."""
        self.hold: asyncio.Event | None = None

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> FakeReply:
        sent = Sent(path, headers, body)
        self.sent.append(sent)
        if self.hold is not None:
            await self._wait(self.hold)
        if self.down or not (self.writes or sent.json["max_tokens"] == 1):
            raise EngineError("connection refused")
        return FakeReply([json.dumps(self.answer(sent)).encode()], headers={"content-type": "application/json"})

    def answer(self, sent: Sent) -> dict[str, object]:
        judges = sent.json["max_tokens"] == 1
        told = [{"token": "x", "logprob": -1.0, "top_logprobs": [{"token": self.word, "logprob": -0.1}]}]
        return {
            "choices": [
                {
                    "message": {"role": "assistant", "content": "yes" if judges else self.text},
                    "finish_reason": self.finish,
                    "logprobs": {"content": told} if self.word is not None else None,
                }
            ],
            "usage": usage(10, 1 if judges else 5),
            "prompt_logprobs": [None, *self.tail] if judges and self.tail is not None else None,
        }


@dataclass
class Virtual:
    client: httpx.AsyncClient
    brain: Brain
    draft: Writer
    target: Writer

    async def ask(self, **fields: object) -> httpx.Response:
        body = {"model": "reasoner", "messages": [{"role": "user", "content": "6 * 7?"}], **fields}
        return await self.client.post(CHAT, json=body)

    async def until_clean(self) -> None:
        await eventually(lambda: not self.brain.calls, "the end of all calls")
        self.brain.check_integrity()
        assert all(not engine.running for engine in self.brain.engines.values())


def reasoner(**fields: object) -> dict[str, object]:
    return {"model": "reasoner", "kind": "atts", "draft": "small", "target": "large", "samples": 3, **fields}


@asynccontextmanager
async def virtual(
    draft: Writer | None = None, target: Writer | None = None, total: float = 3600.0, **fields: object
) -> AsyncIterator[Virtual]:
    engines = [draft or Writer("small"), target or Writer("large")]
    pools = [{"model": each.name, "engines": [{"name": each.name, "url": "http://fake"}]} for each in engines]
    config = parse({"pools": pools, "virtual": [reasoner(**fields)], "limits": {"total": total}})
    brain = Brain(config.policy)
    async with (
        gateway(config, brain, engines) as app,
        serve(app) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as client,
    ):
        await eventually(lambda: len(app.driver.engines) == 2, "the start of all engines")
        if engines[1].tail is None:
            await eventually(lambda: bool(engines[1].sent), "the question how the target scores")
        engines[1].sent.clear()
        yield Virtual(client, brain, *engines)


async def test_many_calls_become_one_chat_completion_and_their_tokens_one_usage() -> None:
    async with virtual(takeover=0.0, decided=None) as w:
        answer = (await w.ask()).json()
        await w.until_clean()
    assert answer["model"] == "reasoner"
    assert answer["choices"][0]["message"]["content"] == ANSWERED
    assert answer["usage"] == {"prompt_tokens": 30, "completion_tokens": 15, "total_tokens": 45}
    assert answer["agentserve"] == {
        "answer": "42", "verdict": "complete", "votes": 3, "voters": 3, "degraded": False, "saved_tokens": 0,
    }  # fmt: skip


async def test_a_virtual_model_is_listed_among_the_others() -> None:
    async with virtual() as w:
        models = (await w.client.get("/v1/models")).json()["data"]
        assert (await w.client.get("/v1/models/reasoner")).json()["id"] == "reasoner"
    assert [model["id"] for model in models] == ["small", "large", "reasoner"]


async def test_the_target_continues_the_text_of_the_draft() -> None:
    async with virtual(Writer("small", "First, "), takeover=1.0, samples=1) as w:
        answer = (await w.ask(temperature=0.5)).json()
        await w.until_clean()
    assert answer["choices"][0]["message"]["content"] == "First, " + ANSWERED
    judged, continued = (sent.json for sent in w.target.sent)
    assert judged["max_tokens"] == 1
    assert continued["messages"] == [
        {"role": "user", "content": "6 * 7?"},
        {"role": "assistant", "content": "First, "},
    ]
    assert (continued["continue_final_message"], continued["temperature"]) == (True, 0.5)


async def test_a_seed_gives_every_step_its_own_and_the_same_again() -> None:
    draft = Writer("small", "On and on. ", finish="length")
    async with virtual(draft, takeover=0.0, turns=2) as w:
        for _ in range(2):
            await w.ask(seed=7)
            await w.until_clean()
    seeds = [sent.json["seed"] for sent in draft.sent]
    assert len(set(seeds[:6])) == 6
    assert set(seeds[:6]) == set(seeds[6:])


async def test_a_target_that_is_down_leaves_the_draft_and_a_warning() -> None:
    target = Writer("large")
    target.down = True
    async with virtual(target=target) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.json()["agentserve"]["degraded"]
    assert "target failed" in response.headers["x-agentserve-warning"]


async def test_a_target_that_is_down_is_an_error_where_the_client_is_strict() -> None:
    target = Writer("large")
    target.down = True
    async with virtual(target=target) as w:
        response = await w.ask(agentserve={"strict": True})
        await w.until_clean()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "procedure_failed"


async def test_a_server_without_log_probabilities_cannot_score() -> None:
    async with virtual(target=Writer("large", word=None)) as w:
        assert (await w.ask()).json()["agentserve"]["degraded"]


def scored(**logprobs: float) -> list[object]:
    """A prompt's last tokens as vLLM tells their log-probabilities."""
    return [{"7": {"logprob": value, "rank": 1, "decoded_token": token}} for token, value in logprobs.items()]


async def test_a_target_with_the_plugin_scores_the_segment_and_nothing_before_it() -> None:
    target = Writer("large", tail=scored(before=-19.0, So=-1.0, it=-2.0))
    async with virtual(Writer("small", "So it"), target, samples=1, turns=1, takeover=0.5, vote="best") as w:
        answer = await w.ask(vllm_xargs={"agentserve_score_tail": 1, "mine": 1})
        await w.until_clean()
    assert not answer.json()["agentserve"]["degraded"]
    sent = target.sent[0].json
    assert sent["messages"] == [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "So it"}]
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert (sent["max_tokens"], sent["prompt_logprobs"]) == (1, 0)
    assert isinstance(sent["vllm_xargs"], dict)
    assert sent["vllm_xargs"]["agentserve_score_tail"] == 5 + 5 // 4 + 8, "what the draft counted, and a margin"
    assert "mine" not in sent["vllm_xargs"]


@pytest.mark.parametrize("tail", [[], [{"7": {"rank": 1}}], ["garbage"], [{"7": None}]])
async def test_a_tail_that_comes_without_scores_is_a_target_that_failed(tail: list[object]) -> None:
    async with virtual(target=Writer("large", tail=tail)) as w:
        answer = (await w.ask()).json()
        await w.until_clean()
    assert answer["agentserve"]["degraded"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (Writer("large", tail=[]), "engine large scores segments by their tails, with the prefix cache on"),
        (Writer("large"), "engine large scores segments by a one-token judgement with log-probabilities"),
        (Writer("large", word=None), "engine large scores segments by nothing: it answers with status 200 and no log"),
    ],
)
async def test_the_log_says_how_a_target_scores(target: Writer, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        async with virtual(target=target):
            await eventually(lambda: said in caplog.text, said)
    assert "engine small scores" not in caplog.text


async def test_a_target_that_does_not_answer_the_question_says_why_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Writer("large")
    target.down = True
    async with virtual(target=target):
        await eventually(lambda: "scores segments by nothing: connection refused" in caplog.text, "the reason")


async def test_a_request_may_hint_beside_its_settings() -> None:
    async with virtual(takeover=0.0, decided=None) as w:
        response = await w.ask(agentserve={"program": "run-42", "samples": 2, "priority": 3})
    assert response.status_code == 200
    assert response.headers["x-agentserve-program"] == "run-42"


async def test_without_any_answer_the_first_text_is_given_as_unfinished() -> None:
    async with virtual(Writer("small", "hm. ", finish="length"), takeover=0.0, turns=2) as w:
        answer = (await w.ask()).json()
    assert answer["agentserve"]["verdict"] == "no_answer"
    assert answer["choices"][0] == {
        "index": 0, "message": {"role": "assistant", "content": "hm. hm. "}, "finish_reason": "length",
    }  # fmt: skip


async def test_a_draft_that_is_down_is_an_error_that_says_what_happened() -> None:
    draft = Writer("small")
    draft.down = True
    async with virtual(draft) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 503
    assert "connection refused" in response.json()["error"]["message"]


async def test_a_draft_that_never_stops_ends_after_its_turns_and_votes_if_it_shows_an_answer() -> None:
    draft = Writer("small", r"\boxed{42} but wait, ", finish="length")
    async with virtual(draft, takeover=0.0, turns=3, certain=None, decided=None) as w:
        answer = (await w.ask()).json()
        await w.until_clean()
    assert len(draft.sent) == 9
    assert answer["choices"][0]["message"]["content"] == draft.text * 3
    assert (answer["agentserve"]["answer"], answer["agentserve"]["voters"]) == ("42", 3)


async def test_a_draft_and_a_target_that_never_stop_end_after_the_turns() -> None:
    draft, target = Writer("small", "hm. ", finish="length"), Writer("large", "well. ", finish="length")
    async with virtual(draft, target, takeover=1.0, turns=3, samples=2) as w:
        answer = (await w.ask()).json()
        await w.until_clean()
    assert answer["agentserve"]["verdict"] == "no_answer"
    assert answer["choices"][0]["message"]["content"] == "hm. well. " * 3
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_target_that_goes_down_after_it_has_scored_leaves_the_draft_and_a_warning() -> None:
    target = Writer("large")
    target.writes = False
    async with virtual(target=target, takeover=1.0) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 200
    assert response.json()["agentserve"] == {
        "answer": "42", "verdict": "decided", "votes": 2, "voters": 2, "degraded": True, "saved_tokens": 0,
    }  # fmt: skip
    assert "x-agentserve-warning" in response.headers


async def test_a_strict_stream_whose_target_is_down_ends_with_an_error_event() -> None:
    target = Writer("large")
    target.down = True
    async with virtual(target=target, strict=True) as w:
        text = (await w.ask(stream=True)).text
        await w.until_clean()
    *_, error, done = text.strip().split("\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "procedure_failed"
    assert done == "data: [DONE]"


async def test_a_client_may_ask_for_less_than_the_operator_allows() -> None:
    async with virtual(samples=3, turns=4) as w:
        answer = await w.ask(agentserve={"samples": 1, "turns": 1, "segment_tokens": 5, "takeover": 0})
        await w.until_clean()
    assert answer.json()["agentserve"]["voters"] == 1
    assert w.draft.sent[0].json["max_tokens"] == 5
    assert not w.target.sent


class Babbler(Writer):
    """Answers with log-probabilities that are none."""

    def answer(self, sent: Sent) -> dict[str, object]:
        choice = {"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": [3]}}
        return {**super().answer(sent), "choices": [choice]}


async def test_a_model_that_answers_with_garbage_is_one_that_failed() -> None:
    async with virtual(Babbler("small")) as w:
        response = await w.ask()
        await w.until_clean()
    assert response.status_code == 503
    assert "no chat completion" in response.json()["error"]["message"]
    async with virtual(target=Babbler("large")) as w:
        assert (await w.ask()).json()["agentserve"]["degraded"]


async def test_a_stream_tells_progress_in_comments_and_then_the_answer() -> None:
    async with virtual(takeover=0.0, decided=None) as w:
        text = (await w.ask(stream=True, stream_options={"include_usage": True})).text
    parts = text.strip().split("\n\n")
    assert parts[0].startswith(": 3 samples")
    answer, spent = (json.loads(part.removeprefix("data: ")) for part in parts[-3:-1])
    assert answer["choices"][0]["delta"]["content"] == ANSWERED
    assert spent["usage"]["completion_tokens"] == 15
    assert parts[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_one_that_takes_too_long_is_ended_with_all_its_steps(stream: bool) -> None:
    draft = Writer("small")
    draft.hold = asyncio.Event()
    async with virtual(draft, total=0.3) as w:
        answer = await w.ask(stream=stream)
        assert answer.status_code == (200 if stream else 504)
        assert "limits.total" in answer.text
        await w.until_clean()


async def test_a_client_that_leaves_takes_all_steps_with_it() -> None:
    draft = Writer("small")
    draft.hold = asyncio.Event()
    async with virtual(draft) as w:
        asking = asyncio.create_task(w.ask())
        await eventually(lambda: len(draft.sent) == 3, "the dispatch of all samples")
        asking.cancel()
        await w.until_clean()
        assert not w.brain.programs


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"agentserve": {"samples": 4}}, "agentserve.samples must be at most 3"),
        ({"agentserve": {"samples": 0}}, "samples is 0"),
        ({"agentserve": {"turns": 0}}, "turns is 0"),
        ({"agentserve": {"segment_tokens": 0}}, "segment_tokens is 0"),
        ({"agentserve": {"samples": -1}}, "samples is -1"),
        ({"agentserve": {"takeover": -0.1}}, "takeover is -0.1"),
        ({"agentserve": {"takeover": "0.1"}}, "agentserve.takeover must be a number"),
        ({"agentserve": {"strict": "yes"}}, "agentserve.strict must be"),
        ({"agentserve": {"turns": True}}, "agentserve.turns must be a number"),
        ({"agentserve": {"sample": 1}}, "agentserve.sample must be"),
        ({"agentserve": 3}, "agentserve must be an object"),
        ({"n": 2}, "n must be 1"),
        ({"seed": "7"}, "seed must be a whole number"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "takes no tools"),
    ],
)
async def test_what_a_virtual_model_cannot_do_is_refused(fields: dict[str, object], what: str) -> None:
    async with virtual() as w:
        response = await w.ask(**fields)
        assert response.status_code == 400
        assert what in response.json()["error"]["message"]
        assert not w.draft.sent


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"draft": "reasoner"}, "virtual itself"),
        ({"target": "reasoner"}, "virtual itself"),
        ({"turns": 0}, "turns is 0"),
        ({"segment_tokens": 0}, "segment_tokens is 0"),
        ({"draft": "other"}, "the pools are large, small"),
        ({"model": "small"}, "used twice"),
        ({"samples": 0}, "samples is 0"),
        ({"takeover": 2.0}, "takeover is 2.0"),
        ({"kind": "best_of_n"}, "no target"),
        ({"target": ""}, "needs a target"),
        ({"answer": {"regex": "("}}, "answer: .* no regular expression"),
        ({"answer": {"regex": "x", "json-path": "y"}}, "not by both"),
        ({"answer": {"json-path": "a..b"}}, "is no path"),
        ({"answer": {"jsonpath": "a"}}, "did you mean 'json_path'"),
        ({"answer": "box"}, "an answer is `boxed`"),
        ({"answer": 3}, "answer"),
    ],
)
def test_a_virtual_model_that_cannot_be_is_an_error_of_the_configuration(changes: dict[str, object], what: str) -> None:
    pools = [{"model": name, "engines": [{"url": "http://fake"}]} for name in ("small", "large")]
    with pytest.raises(ConfigError, match=what):
        parse({"pools": pools, "virtual": [reasoner(**changes)]})


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("boxed", r"So \boxed{42}"),
        ({}, r"So \boxed{42}"),
        ({"regex": r"is (\d+)"}, "It is 41. No: it is 42."),
        ({"json-path": "result[0]"}, 'Here: {"result": [42]}'),
        ({"json_path": "result[0]"}, 'Here: {"result": [42]}'),
    ],
)
async def test_an_answer_is_found_where_the_configuration_says(answer: object, text: str) -> None:
    async with virtual(Writer("small", text), answer=answer, takeover=0.0) as w:
        response = await w.ask()
        assert response.json()["agentserve"]["answer"] == "42"


async def test_sixty_four_calls_of_sixteen_samples_lose_no_sample_and_leak_no_call() -> None:
    emulated = {"emulated": {"kv_tokens": 1_048_576, "max_num_seqs": 256, "speed": 1000.0}}
    model = {"model": "reasoner", "kind": "self_consistency", "draft": "small", "samples": 16, "turns": 2}
    own = {"segment_tokens": 8, "decided": None, "answer": {"regex": r"(\w+)\.$"}}
    config = parse({"pools": [{"model": "small", "engines": [emulated]}], "virtual": [model | own]})
    brain = Brain(config.policy)
    engines = build_engines(config, default_logs())
    async with gateway(config, brain, engines) as app, serve(app) as url:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
            await eventually(lambda: len(app.driver.engines) == 1, "the start of the engine")
            bodies = [{"model": "reasoner", "messages": [{"role": "user", "content": f"{n}?"}]} for n in range(64)]
            answers = await asyncio.gather(*(client.post(CHAT, json=body) for body in bodies))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["agentserve"]["voters"] for answer in answers} == {16}
        await eventually(lambda: not brain.calls, "the end of all calls")
        brain.check_integrity()
        assert not brain.programs
