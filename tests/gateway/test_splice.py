import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentserve.gateway.splice import BadJsonError, Body, Edit

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
names = st.sampled_from(["model", "messages", "priority", "vllm_xargs", 'é"\\', ""])
spaces = st.text(alphabet=" \t\n\r", max_size=2)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[tuple[str, object]]]:
    """An object's text, oddly spaced and perhaps with a key twice, and its members in order."""
    members = draw(st.lists(st.tuples(names, values), max_size=6))
    parts = []
    for name, value in members:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        parts.append(f"{draw(spaces)}{json.dumps(name)}{draw(spaces)}:{draw(spaces)}{text}{draw(spaces)}")
    return f"{draw(spaces)}{{{','.join(parts)}{draw(spaces)}}}{draw(spaces)}", list(members)


def encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@given(objects().filter(lambda item: encodable(item[0])))
def test_fields_are_what_the_parser_of_everyone_reads(item: tuple[str, list[tuple[str, object]]]) -> None:
    text, _ = item
    assert Body(text.encode()).fields == json.loads(text)


@given(
    objects().filter(lambda item: encodable(item[0])),
    st.dictionaries(names, st.none() | st.integers() | st.text(), max_size=3),
    st.sets(names, max_size=3),
)
def test_an_edit_equals_the_same_edit_of_a_dict_and_copies_the_rest(
    item: tuple[str, list[tuple[str, object]]], put: dict[str, str | int | None], drop: set[str]
) -> None:
    text, members = item
    result = Body(text.encode()).edited(Edit(put=dict(put), drop=drop)).decode()
    expected = {name: value for name, value in json.loads(text).items() if name not in drop} | put
    assert json.loads(result) == expected
    pairs = json.loads(result, object_pairs_hook=lambda pairs: [name for name, _ in pairs])
    assert all(pairs.count(name) == 1 for name in put)
    untouched = [json.dumps(name) for name, _ in members if name not in put and name not in drop]
    assert [json.dumps(name) for name in pairs if name not in put] == untouched


def test_untouched_bytes_are_identical() -> None:
    data = b'{ "a" : 1.50 ,\n "b":"\\u00e9\xc3\xa9" ,"c" : [1 , 2], "b2":1e5 }\n'
    assert Body(data).edited(Edit(drop=("nothing",))) is data
    assert Body(data).edited(Edit(drop=("c",))) == b'{ "a" : 1.50 ,\n "b":"\\u00e9\xc3\xa9", "b2":1e5 }\n'
    assert Body(data).edited(Edit(drop=("a",))) == b'{ "b":"\\u00e9\xc3\xa9" ,"c" : [1 , 2], "b2":1e5 }\n'
    assert Body(data).edited(Edit(put={"c": 3})) == b'{ "a" : 1.50 ,\n "b":"\\u00e9\xc3\xa9" ,"c" : 3, "b2":1e5 }\n'


def test_a_key_that_occurs_twice_is_replaced_once_and_not_duplicated() -> None:
    assert Body(b'{"priority":1,"x":0,"priority":2}').edited(Edit(put={"priority": 7})) == b'{"priority":7,"x":0}'


def test_an_edit_within_merges_into_the_object_that_is_there() -> None:
    inner = Edit(put={"include_usage": True}, drop=("agentic_context",))
    edit = Edit(put={"o": inner})
    assert Body(b'{"o": {"x" : 1.0, "agentic_context": {}}}').edited(edit) == b'{"o": {"x" : 1.0,"include_usage":true}}'
    assert Body(b'{"o":null}').edited(edit) == b'{"o":{"include_usage":true}}'
    assert Body(b"{}").edited(edit) == b'{"o":{"include_usage":true}}'
    assert Body(b'{"o":{"x":1},"o":{"y":2}}').edited(edit) == b'{"o":{"y":2,"include_usage":true}}'


@pytest.mark.parametrize("letter", ["e", "é", "\U0001f600"])
def test_elements_come_with_the_bytes_the_client_wrote(letter: str) -> None:
    body = Body(f'{{"messages": [ {{"a" : 1}},\n"{letter}" , [] ]}}'.encode())
    assert [element.raw for element in body.elements("messages")] == [b'{"a" : 1}', f'"{letter}"'.encode(), b"[]"]
    assert body.fields["messages"] == [{"a": 1}, letter, []]
    assert Body(b'{"messages":[]}').elements("messages") == []
    assert body.raw("messages").startswith("[ {")
    assert body.raw("absent") == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b"{a:1}",
        b'{"a" 1}',
        b'{"a":1}{}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":"\n"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadJsonError):
        Body(data)


def test_of_two_arrays_of_one_name_the_last_is_split() -> None:
    body = Body(b'{"messages": [{"a": 1}], "messages": [{"b": 2}]}')
    assert [element.value for element in body.elements("messages")] == [{"b": 2}]
    assert Body(b'{"messages": [{"a": 1}], "messages": 5}').elements("messages") == []


@pytest.mark.parametrize("array", [b'[{"a": 1},]', b'[{"a": 1}', b'[{"a": 1} {"b": 2}]', b'[{"a": 1},,{}]', b"[{]"])
def test_an_array_that_is_split_is_json_too(array: bytes) -> None:
    with pytest.raises(BadJsonError):
        Body(b'{"messages": ' + array + b"}")


def test_an_array_with_too_many_objects_is_refused_and_one_of_numbers_is_not_split() -> None:
    with pytest.raises(BadJsonError, match="more than"):
        Body(b'{"messages":[' + b",".join([b"{}"] * 40_000) + b"]}")
    assert Body(b'{"input":[' + b",".join([b"0"] * 40_000) + b"]}").elements("input") == []
