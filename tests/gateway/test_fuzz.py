"""What strangers send: the splicer, the scanners of streams and the identity resolver take anything and never break.

A few examples each here; `make fuzz` tries for minutes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.chain import Chain
from agentserve.gateway.errors import ApiError
from agentserve.gateway.identity import Registrar
from agentserve.gateway.ids import MAX_ID_BYTES
from agentserve.gateway.protocols import PROTOCOLS
from agentserve.gateway.request import parse_request
from agentserve.gateway.scoped import scoped
from agentserve.gateway.splice import BadJsonError, Body, Edit
from tests.gateway import fakes

leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
value = st.recursive(
    leaf | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
known = st.sampled_from(
    ["messages", "input", "model", "stream", "stream_options", "priority", "vllm_xargs", "tools", "metadata", "agentserve",
     "prompt", "prompt_cache_key", "previous_response_id", "conversation", "max_tokens", "stop", "cache_salt"]
)  # fmt: skip
objects = st.dictionaries(known | st.text(max_size=8), value, max_size=8)
messages = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": value}))
requests = st.builds(
    lambda more, said: {"model": "m", "messages": said, "input": said, "prompt": "p", "max_tokens": 5, **more},
    objects,
    messages,
)
indents = st.sampled_from([None, 0, 3])
header_names = st.sampled_from(
    [b"x-agentserve-program", b"x-agentserve-parent", b"x-agentserve-deadline-ms", b"x-agentserve-final", b"x-session-id",
     b"x-a-session-id", b"session-id", b"thread-id", b"x-claude-code-session-id", b"x-claude-code-agent-id", b"baggage",
     b"x-dynamo-session-id", b"x-dynamo-session-final", b"x-opencode-session", b"traceparent"]
)  # fmt: skip
headers = st.dictionaries(header_names | st.binary(max_size=12).map(bytes.lower), st.binary(max_size=300), max_size=6)


def damaged(data: bytes, cut: int, junk: bytes) -> bytes:
    """The bytes with a few of them replaced."""
    at = cut % (len(data) + 1)
    return data[:at] + junk + data[at + len(junk) :]


@given(objects, indents, st.booleans(), st.lists(known, max_size=4))
def test_an_edit_changes_what_it_names_and_nothing_else(
    content: dict[str, Any], indent: int | None, ascii_only: bool, drop: list[str]
) -> None:
    data = json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        body = Body(data)
    except BadJsonError:
        assert any("\ud800" <= letter <= "\udfff" for letter in data.decode("utf-8", "surrogatepass"))
        return
    edited = json.loads(body.edited(Edit({"priority": 7, "stream_options": Edit({"include_usage": True})}, drop=drop)))
    options = content.get("stream_options")
    merged = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    kept = {name: item for name, item in content.items() if name not in drop}
    assert edited == {**kept, "priority": 7, "stream_options": merged}


@given(objects, st.integers(0, 10_000), st.binary(max_size=6))
def test_a_damaged_body_is_read_as_json_reads_it_or_refused(content: dict[str, Any], cut: int, junk: bytes) -> None:
    data = damaged(json.dumps(content).encode(), cut, junk)
    try:
        fields = Body(data).fields
    except BadJsonError:
        return
    assert fields == json.loads(data)


@given(st.sampled_from(sorted(PROTOCOLS)), requests, headers, st.text(max_size=300))
def test_any_request_is_identified_within_bounds_or_refused(
    path: str, content: dict[str, Any], sent: dict[bytes, bytes], base: str
) -> None:
    refusal: ApiError | None = None
    try:
        _, program = scoped({"type": "http", "path": f"/p/{base}{path}", "headers": []})
        registrar = Registrar(Chain(), 1000)
        request = registrar.continued(parse_request(path, json.dumps(content).encode()))
        identity = registrar.identify(sent, request, program)
        registrar.remember(request, identity)
    except ApiError as error:
        refusal = error
    if refusal is not None:
        assert 400 <= refusal.status < 500
        assert json.loads(PROTOCOLS[path].error(refusal))
        return
    assert identity.program.program
    assert len(identity.program.program.encode()) <= 4 * MAX_ID_BYTES
    assert not re.search(r"[\x00-\x1f\x7f]", identity.program.program)


@given(
    st.sampled_from(sorted(PROTOCOLS)),
    st.lists(
        st.sampled_from([*fakes.STREAM, b": ping\n\n", b"event: error\ndata: {}\n\n", b'data: {"error": 5}\n\n'])
        | st.builds(fakes.event, value)
        | st.binary(max_size=30),
        max_size=12,
    ),
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.booleans(),
)
def test_a_stream_is_read_the_same_however_it_is_cut_or_refused(
    path: str, events: list[bytes], sizes: list[int], reads_text: bool
) -> None:
    whole = b"".join(events)
    cut: list[bytes] = []
    at = 0
    while at < len(whole):
        size = sizes[len(cut) % len(sizes)]
        cut.append(whole[at : at + size])
        at += size
    assert _read(path, [whole], reads_text) == _read(path, cut, reads_text)


def _read(path: str, pieces: list[bytes], reads_text: bool) -> object:
    """What goes to the client, and what is known then; None if it is refused."""
    reader = PROTOCOLS[path].reader(wants_usage=False, reads_text=reads_text)
    try:
        passed = b"".join([reader.feed(piece) for piece in pieces])
    except BadAnswerError:
        return None
    return passed, reader.started, reader.done, reader.usage, reader.tools, reader.error
