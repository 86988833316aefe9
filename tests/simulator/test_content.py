from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.content import Context, Extent

contexts = st.lists(st.builds(Extent, st.integers(0, 2), st.integers(1, 6)), min_size=1, max_size=5).map(
    lambda extents: Context(tuple(extents))
)


def tokens(context: Context) -> list[tuple[int, int]]:
    return [(content, position) for content, length in context.extents for position in range(length)]


def shared(one: Context, two: Context) -> int:
    pairs = zip(tokens(one), tokens(two), strict=False)
    return next((index for index, (left, right) in enumerate(pairs) if left != right), min(one.tokens, two.tokens))


@given(contexts, contexts, st.data())
def test_two_contexts_have_in_common_what_their_tokens_have(one: Context, two: Context, data: st.DataObject) -> None:
    same = shared(one, two)
    if same:
        known = data.draw(st.integers(1, same))
        end = data.draw(st.integers(known, min(one.tokens, two.tokens)))
        assert one.common(two, known, end) == min(same, end)


@given(contexts, contexts, st.data())
def test_keys_are_equal_exactly_where_tokens_are(one: Context, two: Context, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, min(one.tokens, two.tokens) - 1))
    end = data.draw(st.integers(start + 1, min(one.tokens, two.tokens)))
    equal = tokens(one)[start:end] == tokens(two)[start:end]
    assert (one.key(start, end) == two.key(start, end)) == equal


def test_of_two_lengths_of_one_content_the_shorter_is_shared() -> None:
    assert Context((Extent(1, 9), Extent(2, 5))).common(Context((Extent(1, 100),)), 1, 14) == 9
