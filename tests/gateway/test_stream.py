import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentserve.gateway.answer import Answer, BadAnswerError
from agentserve.gateway.protocols.openai_chat import Chat, ChoicesReader
from scheduler.types import Usage


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(**fields: object) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


ROLE = delta(role="assistant", content="")
USAGE = event(
    {
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    }
)
DONE = b"data: [DONE]\n\n"
STREAM = ROLE + delta(content="a") + delta(content=' say "usage" \u00e9') + USAGE + DONE


def read(stream: bytes, sizes: list[int], wants_usage: bool = False) -> tuple[bytes, ChoicesReader]:
    reader = ChoicesReader(wants_usage, reads_text=True)
    out = b""
    while stream:
        size = sizes.pop(0) if sizes else len(stream)
        out += reader.feed(stream[:size])
        stream = stream[size:]
    return out, reader


@given(st.lists(st.integers(1, 60), max_size=30))
def test_a_stream_is_read_the_same_however_it_is_cut(sizes: list[int]) -> None:
    out, reader = read(STREAM, sizes)
    assert out == STREAM.replace(USAGE, b"")
    assert (reader.usage, reader.done, reader.tokens) == (Usage(7, 2, 4), True, 2)


def test_the_usage_event_stays_for_a_client_that_asked() -> None:
    assert read(STREAM, [], wants_usage=True)[0] == STREAM


def test_usage_beside_choices_is_read_and_stays() -> None:
    both = event({"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    out, reader = read(both + DONE, [])
    assert out == both + DONE
    assert reader.usage == Usage(1, 1, None)


@pytest.mark.parametrize(("stream", "tokens"), [(ROLE, 0), (ROLE + delta(reasoning_content="hm"), 1)])
def test_a_role_is_no_first_token(stream: bytes, tokens: int) -> None:
    _, reader = read(stream, [])
    assert (reader.started, reader.tokens) == (tokens > 0, tokens)


def test_text_that_is_no_utf8_passes() -> None:
    broken = b'data: {"choices":[{"text":"\xff"}]}\n\n'
    first = event({"choices": [{"text": "x"}]})
    assert read(first + broken + DONE, [len(first), len(broken)])[0] == first + broken + DONE


def test_a_completions_text_is_a_token() -> None:
    reader = ChoicesReader(False, reads_text=False)
    reader.feed(event({"choices": [{"text": "x"}]}))
    assert reader.started


def test_tool_calls_are_found_in_any_chunk() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "search", "arguments": ""}}
    more = {"index": 1, "id": "d", "function": {"name": "open", "arguments": "{}"}}
    stream = ROLE + delta(content="I look") + delta(tool_calls=[call]) + delta(tool_calls=[more]) + DONE
    assert read(stream, [])[1].tools == ("search", "open")


def test_a_bash_block_that_comes_token_by_token_is_a_tool() -> None:
    pieces = ["Run", ":\n``", "`ba", "sh\n", "pyt", 'est -k "a\\"b', '"\n', "```", "\n"]
    stream = b"".join(delta(content=piece) for piece in pieces)
    assert read(stream, [len(stream) // 3, len(stream) // 3])[1].tools == ("pytest",)


def test_lines_may_end_in_carriage_returns() -> None:
    stream = STREAM.replace(b"\n", b"\r\n")
    out, reader = read(stream, [5, 50, 3])
    assert out == stream.replace(USAGE.replace(b"\n", b"\r\n"), b"")
    assert reader.done


def test_comments_pass() -> None:
    out, reader = read(b": hello\n\n" + DONE, [])
    assert out == b": hello\n\n" + DONE
    assert not reader.started


def test_an_error_event_is_noticed_and_passes() -> None:
    broken = event({"error": {"message": "engine dead", "code": 500}})
    out, reader = read(ROLE + delta(content="x") + broken, [])
    assert out.endswith(broken)
    assert reader.error == "engine dead"


@pytest.mark.parametrize("garbage", [b"<html>\n\n", b"data: x\n\n", b"data: 1\n\n", b"data: {\n\n"])
def test_what_is_no_event_of_the_api_is_refused(garbage: bytes) -> None:
    reader = ChoicesReader(False, reads_text=False)
    with pytest.raises(BadAnswerError):
        reader.feed(garbage)


@pytest.mark.parametrize("garbage", [b"", b"<html>", b"[]", b"{}", b'{"choices":null}', b"[" * 100_000])
def test_a_whole_answer_that_is_none_of_the_api_is_refused(garbage: bytes) -> None:
    with pytest.raises(BadAnswerError):
        Chat().answer(garbage)


def test_a_whole_answer_says_usage_and_tools() -> None:
    message = {"content": None, "tool_calls": [{"function": {"name": "search", "arguments": "{}"}}]}
    answer = {"choices": [{"message": message}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    assert Chat().answer(json.dumps(answer).encode()) == Answer(Usage(3, 2, None), ("search",))
    plain = {"choices": [{"text": "```bash\nls -l\n```\n"}]}
    assert Chat().answer(json.dumps(plain).encode()) == Answer(None, ("ls",))
