from __future__ import annotations

from itertools import count

import httpx

from tests.workloads.mock_server import event, token, usage
from workloads.exchange import Exchange

ROLE = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}])
END = token("", "length")
DONE = "data: [DONE]"


async def run(lines: list[str]) -> Exchange:
    """An exchange whose clock counts its readings: 0 at sending, then one a chunk, then the end."""
    ticks = count()
    text = "".join(f"{line}\n\n" for line in lines)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=text))
    exchange = Exchange()
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        await exchange.run(client, {}, {}, lambda: float(next(ticks)), lambda: None)
    return exchange


async def test_the_role_chunk_is_not_the_first_token() -> None:
    exchange = await run([ROLE, token("x"), token("y"), END, DONE])

    assert (exchange.sent_s, exchange.first_token_s, exchange.finish_s) == (0, 2, 5)
    assert exchange.text == "xy"


async def test_reasoning_and_tool_calls_are_first_tokens_but_not_part_of_the_answer() -> None:
    reasoning = event(choices=[{"index": 0, "delta": {"reasoning": "hm", "content": None}}])
    exchange = await run([ROLE, reasoning, token("x"), END, DONE])

    assert exchange.first_token_s == 2
    assert exchange.text == "x"


async def test_an_answer_of_special_tokens_alone_counts_from_its_end() -> None:
    exchange = await run([ROLE, token(""), END, DONE])

    assert exchange.first_token_s == 3
    assert exchange.error is None


async def test_comments_and_other_fields_of_the_stream_are_passed_over() -> None:
    exchange = await run([": keep-alive", "event: message", "id: 7", token("x"), END, usage(10, 2, 4), DONE])

    assert exchange.error is None
    assert (exchange.prompt_tokens, exchange.output_tokens, exchange.cached_tokens) == (10, 2, 4)


async def test_a_server_that_does_not_report_cached_tokens_leaves_them_unknown() -> None:
    exchange = await run([token("x"), END, event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 1})])

    assert exchange.prompt_tokens == 5
    assert exchange.cached_tokens is None


async def test_an_error_after_tokens_keeps_what_came_before() -> None:
    exchange = await run([token("x"), event(error={"message": "engine died"}), DONE])

    assert exchange.first_token_s == 1
    assert exchange.finish_s is None
    assert exchange.error == "BadAnswerError: error in the stream: {'message': 'engine died'}"
