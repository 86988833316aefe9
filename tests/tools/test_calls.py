from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.calls import (
    AnthropicCalls,
    OpenAICalls,
    ResponsesCalls,
    anthropic_tools,
    openai_tools,
    responses_tools,
    text_tools,
)
from tools.fence import BashBlock

BASH = "I will look.\n\n```bash\n# first\n\nls -la /tmp && cat x\n```\nDone."
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "content",
                    "tool_calls",
                    "function",
                    "custom",
                    "name",
                    "index",
                    "type",
                    "delta",
                    "text",
                    "content_block",
                ]
            ),
            inner | st.sampled_from(["content_block_start", "content_block_delta", "tool_use", "text"]),
        )
    ),
    max_leaves=20,
)


def call(name: str, index: int | None = None) -> dict[str, object]:
    body: dict[str, object] = {"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return body if index is None else {**body, "index": index}


def test_parallel_calls_of_a_whole_message_are_named_in_order() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [call("read"), call("search"), call("read")]}
    assert openai_tools(message) == ("read", "search", "read")


def test_a_custom_tool_of_openai_is_named() -> None:
    assert openai_tools({"tool_calls": [{"type": "custom", "custom": {"name": "sql", "input": "x"}}]}) == ("sql",)


def test_streamed_calls_are_told_apart_by_index_and_named_once() -> None:
    calls = OpenAICalls()
    calls.feed({"role": "assistant", "content": ""})
    calls.feed({"tool_calls": [call("read", 0)]})
    calls.feed({"tool_calls": [{"index": 0, "function": {"arguments": '{"path"'}}]})
    calls.feed({"tool_calls": [call("search", 1)]})
    calls.feed({"tool_calls": [call("search", 1)]})
    assert calls.tools() == ("read", "search")


def test_anthropic_blocks_are_named_whole_and_streamed() -> None:
    blocks = [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "t1", "name": "grep", "input": {}},
        {"type": "tool_use", "id": "t2", "name": "edit", "input": {}},
    ]
    streamed = AnthropicCalls()
    streamed.feed({"type": "message_start", "message": {"content": []}})
    for index, block in enumerate(blocks):
        streamed.feed({"type": "content_block_start", "index": index, "content_block": block})
        streamed.feed({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta"}})
    assert anthropic_tools({"role": "assistant", "content": blocks}) == ("grep", "edit") == streamed.tools()


def test_anthropic_text_may_hold_a_bash_block() -> None:
    streamed = AnthropicCalls()
    for piece in BASH.split("l"):
        delta = {"type": "text_delta", "text": f"{piece}l"}
        streamed.feed({"type": "content_block_delta", "index": 0, "delta": delta})
    assert streamed.tools() == ("ls",)
    assert anthropic_tools({"content": [{"type": "text", "text": BASH}]}) == ("ls",)


def test_a_call_of_the_api_goes_before_a_bash_block() -> None:
    assert openai_tools({"content": BASH, "tool_calls": [call("read")]}) == ("read",)


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        (BASH, ("ls",)),
        ("```sh\ngit status\n```", ("git",)),
        ("```shell\r\npytest -q\r\n```\r\n", ("pytest",)),
        ("~~~bash\nmake\n~~~", ("make",)),
        ("````bash\ncat <<EOF\n```\nEOF\n````", ("cat",)),
        ("  - so:\n    ```bash\n    python a.py\n    ```", ("python",)),
        ("```python\nprint(1)\n```\nand\n```bash\nls\n```", ("ls",)),
        ("```bash\nls\n```\n```bash\ncat x\n```", ()),
        ("```bash\nls\n", ()),
        ("```python\nprint(1)\n```", ()),
        ("```\nls\n```", ()),
        ("```bash\n\n```", ()),
        ("say ```bash``` inline", ()),
        ("", ()),
    ],
)
def test_a_bash_block_counts_when_it_is_single_and_whole(text: str, tools: tuple[str, ...]) -> None:
    assert text_tools(text) == tools
    assert openai_tools({"content": text}) == tools
    assert openai_tools({"content": [{"type": "text", "text": text}]}) == tools


@given(st.text(alphabet="`~bash \nl#x", max_size=60), st.lists(st.integers(0, 60)))
def test_where_the_stream_is_cut_does_not_matter(text: str, cuts: list[int]) -> None:
    text = f"{text}\n{BASH}" if len(cuts) % 2 else text
    bounds = [0, *sorted(cuts), len(text)]
    block = BashBlock()
    for start, end in pairwise(bounds):
        block.feed(text[start:end])
    assert ((block.word,) if block.word else ()) == text_tools(text)


@given(json_values)
def test_garbage_never_raises(value: object) -> None:
    readers = OpenAICalls(), AnthropicCalls(), ResponsesCalls()
    for reader in readers:
        reader.feed(value)
    names = [name for reader in readers for name in reader.tools()]
    names += (*openai_tools(value), *anthropic_tools(value), *responses_tools(value))
    assert all(isinstance(name, str) for name in names)


def test_memory_does_not_grow_with_the_text_or_the_calls() -> None:
    calls = OpenAICalls()
    for _ in range(100):
        calls.feed({"content": "no newline " * 1000})
    for index in range(1000):
        calls.feed({"tool_calls": [call("n" * 5000, index)]})
    assert len(calls._block._line) == 1024
    assert len(calls.tools()) == 128
    assert {len(name) for name in calls.tools()} == {256}


def test_a_responses_calls_are_its_clients_and_not_its_servers() -> None:
    kinds = ("reasoning", "function_call", "web_search_call", "custom_tool_call", "local_shell_call")
    items = [{"type": kind, **({"name": kind[:4]} if "shell" not in kind else {})} for kind in kinds]
    calls = ResponsesCalls()
    for index, item in enumerate(items):
        calls.feed({"type": "response.output_item.added", "output_index": index, "item": item})
        calls.feed({"type": "response.output_item.done", "output_index": index, "item": item})
    assert calls.tools() == responses_tools({"output": items}) == ("func", "cust", "local_shell_call")


def test_a_responses_bash_block_is_a_tool() -> None:
    calls = ResponsesCalls()
    for piece in (BASH[:20], BASH[20:]):
        calls.feed({"type": "response.output_text.delta", "output_index": 0, "delta": piece})
    message = {"type": "message", "content": [{"type": "output_text", "text": BASH}]}
    assert calls.tools() == responses_tools({"output": [message]}) == ("ls",)


def test_a_name_that_cannot_be_encoded_is_kept_encodable() -> None:
    assert openai_tools({"tool_calls": [call("\ud800x")]}) == ("?x",)
