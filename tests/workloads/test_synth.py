from __future__ import annotations

import httpx
import pytest

from tests.workloads.mock_server import serve
from workloads.program import Call, Program, SharedPrefix
from workloads.synth import DEFAULT_RATIO, Message, Ratio, calibrate, opening, result, text
from workloads.words import WORDS


def program(name: str, call: Call) -> Program:
    return Program(name, 0.0, (call,))


def words(messages: tuple[Message, ...]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def test_a_longer_text_of_one_seed_begins_with_the_shorter() -> None:
    assert text("a", 50).startswith(text("a", 20))
    assert text("a", 20) != text("b", 20)
    assert len(text("a", 20).split()) == 20


def test_text_does_not_change_between_versions_and_processes() -> None:
    assert text("prefix/swe_agent", 6) == "join select rest go come idea"


def test_words_are_distinct_and_plain() -> None:
    assert len(set(WORDS)) == len(WORDS) > 500
    assert all(word.isascii() and word.islower() for word in WORDS)


def test_one_prefix_is_the_same_bytes_for_every_program_and_nothing_else_is() -> None:
    call = Call("0", 100, 5, prefix=(SharedPrefix("tools", 60),))
    longer = Call("0", 100, 5, prefix=(SharedPrefix("tools", 80),))
    one, two, three = (opening(program(name, made), made) for name, made in [("a", call), ("b", call), ("c", longer)])

    assert one[0] == two[0]
    assert three[0]["content"].startswith(one[0]["content"])
    assert one[1] != two[1]


def test_prefixes_are_the_same_bytes_up_to_where_their_texts_part() -> None:
    trunk = SharedPrefix("tools", 60)
    calls = [Call("0", 9, 5, prefix=(trunk, SharedPrefix(name, 30))) for name in ("left", "left", "right")]
    left, same, right = (opening(program("p", call), call)[0]["content"].split() for call in calls)

    assert left == same
    assert left[:55] == right[:55]
    assert left[55:59] != right[55:59]


def test_without_a_prefix_two_programs_share_no_first_words() -> None:
    call = Call("0", 100, 5)
    one, two = opening(program("a", call), call), opening(program("b", call), call)

    assert [message["role"] for message in one] == ["system", "user"]
    assert one[0]["content"].split()[:4] != two[0]["content"].split()[:4]
    assert one[1]["content"].split()[:4] != two[1]["content"].split()[:4]


@pytest.mark.parametrize("prefix", [(), (SharedPrefix("tools", 60),), (SharedPrefix("a", 40), SharedPrefix("b", 20))])
def test_words_and_the_marks_around_messages_make_the_planned_tokens(prefix: tuple[SharedPrefix, ...]) -> None:
    call = Call("0", 100, 5, prefix=prefix)
    planned = 100 + sum(shared.tokens for shared in prefix)

    messages = opening(program("a", call), call)
    assert words(messages) + 3 * 5 == planned, "system, user, and the opening of the answer"
    assert words((result(program("a", call), call),)) + 2 * 5 == 100


def test_a_ratio_of_two_tokens_a_word_halves_the_words() -> None:
    call = Call("0", 1000, 5)
    plain, halved = (opening(program("a", call), call, ratio) for ratio in (Ratio(1, 0), Ratio(2, 0)))

    assert words(plain) == 1000
    assert words(halved) == 500


def test_the_shortest_call_still_has_text() -> None:
    call = Call("0", 1, 1)

    assert all(message["content"] for message in (*opening(program("a", call), call), result(program("a", call), call)))


async def test_the_ratio_is_measured_with_the_servers_tokenizer() -> None:
    async with serve() as mock:
        assert await calibrate(mock.url, "m") == Ratio(tokens_per_word=2.0, tokens_per_message=7.0)


async def test_a_server_without_a_tokenizer_is_an_error() -> None:
    with pytest.raises(httpx.ConnectError):
        await calibrate("http://127.0.0.1:9", "m")


def test_the_default_ratio_is_one_token_a_word() -> None:
    assert DEFAULT_RATIO.words(100) == 100
