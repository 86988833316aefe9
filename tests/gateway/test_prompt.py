import json

from hypothesis import given
from hypothesis import strategies as st

from agentserve.gateway.prompt import MAX_MARKS, PLAIN_STEP, Prompt, in_pieces
from agentserve.gateway.request import parse_request
from tests.gateway.world import CHAT, COMPLETIONS

messages = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=5)}), max_size=8)


def read(path: str, **fields: object) -> Prompt:
    return parse_request(path, json.dumps({"model": "m", **fields}).encode()).prompt


@given(messages, messages, messages)
def test_chats_share_marks_exactly_as_far_as_they_share_messages(
    common: list[object], one: list[object], other: list[object]
) -> None:
    first, second = read(CHAT, messages=common + one), read(CHAT, messages=common + other)
    alike = [a == b for a, b in zip(map(json.dumps, common + one), map(json.dumps, common + other), strict=False)]
    shared = alike.index(False) if False in alike else len(alike)
    assert first.marks[:shared] == second.marks[:shared]
    assert not set(first.marks[shared:]) & set(second.marks[shared:])
    assert first.end.size == sum(len(json.dumps(message)) for message in common + one)


@given(st.text(max_size=3000), st.integers(0, 3000))
def test_plain_prompts_share_the_marks_of_their_common_steps(text: str, cut: int) -> None:
    whole, start = read(COMPLETIONS, prompt=text), read(COMPLETIONS, prompt=text[:cut])
    assert len(whole.marks) == len(text.encode()) // PLAIN_STEP
    assert start.marks == whole.marks[: len(start.marks)]
    assert whole.end.size == len(text.encode())


def test_tools_are_part_of_the_prompt() -> None:
    hi = {"role": "user", "content": "hi"}
    plain, tooled = read(CHAT, messages=[hi]), read(CHAT, messages=[hi], tools=[{"a": 1}])
    assert len(tooled.marks) == len(plain.marks) + 1
    assert tooled.end.size > plain.end.size
    assert not set(plain.marks) & set(tooled.marks)


def test_an_answer_that_grows_within_its_message_extends_what_it_was() -> None:
    def grown(*pieces: str) -> Prompt:
        messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "".join(pieces)}]
        return in_pieces(read(CHAT, messages=messages), 1, pieces)

    once, twice = grown("ö one, "), grown("ö one, ", "two")
    assert once.marks == twice.marks[:2]
    assert twice.marks[-1].size <= twice.end.size
    assert grown("ö one, ", "three").marks[:2] == once.marks
    assert grown("another, ", "two").marks[2:] != twice.marks[2:]


def test_token_ids_are_counted_exactly() -> None:
    assert read(COMPLETIONS, prompt=list(range(1000))).tokens == 1000
    assert read(COMPLETIONS, prompt=[list(range(1000))]).tokens == 1000
    assert read(COMPLETIONS, prompt="text").tokens is None


def test_several_prompts_have_a_size_but_no_marks() -> None:
    prompt = read(COMPLETIONS, prompt=["a" * 1000, "b" * 1000])
    assert (prompt.marks, prompt.end.size) == ((), 2000)


def test_one_prompt_in_a_list_is_that_prompt() -> None:
    assert read(COMPLETIONS, prompt=["a" * 1000]) == read(COMPLETIONS, prompt="a" * 1000)


def test_marks_are_bounded_and_the_size_is_not() -> None:
    size = PLAIN_STEP * MAX_MARKS * 2
    prompt = read(COMPLETIONS, prompt="x" * size)
    assert (len(prompt.marks), prompt.end.size) == (MAX_MARKS, size)
    many = read(CHAT, messages=[{}] * (MAX_MARKS * 2))
    assert len(many.marks) <= MAX_MARKS
    assert many.end.size == MAX_MARKS * 2 * 2
