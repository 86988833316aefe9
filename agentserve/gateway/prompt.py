"""A prompt as the scheduler needs it: its size, and the marks by which two prompts find what they share."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import accumulate

from agentserve.gateway.errors import wrong
from agentserve.gateway.splice import Body, Element
from scheduler.types import PrefixMark, Tokens

PLAIN_STEP = 512
"""Bytes of a plain prompt from one mark to the next."""
MAX_MARKS = 4096
"""A prompt has no more marks than this; what lies behind the last is not compared."""

_TEMPLATE_FIELDS = (
    "tools",
    "system",
    "instructions",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "reasoning_effort",
    "cache_salt",
)
"""What a chat template renders around the messages, and what parts one cache from another."""
_MODEL_ITEMS = frozenset({"reasoning", "function_call", "custom_tool_call"})
"""Items of a response's input, beside the assistant's messages, that are of an answer."""
_MUST_BE = "a text, a list of token ids, or a list of such"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the gateway keeps of a prompt.

    `turns` are the marks at which an earlier prompt of the same program may have ended, deepest first: in a chat
    those that an answer of the model follows, in a plain prompt (`plain` is its text) all.
    """

    marks: tuple[PrefixMark, ...]
    end: PrefixMark
    """The whole prompt."""
    tokens: Tokens | None = None
    turns: tuple[PrefixMark, ...] = ()
    plain: bytes = b""

    def continues(self, earlier: PrefixMark, mark: PrefixMark) -> bool:
        """Whether this prompt goes on after all of an earlier one, given that both share `mark`."""
        if earlier.size >= self.end.size:
            return False
        return earlier == mark or earlier == _next_mark(mark, self.plain[mark.size : earlier.size])

    def following(self, earlier: tuple[PrefixMark, ...]) -> Prompt:
        """The prompt that it becomes behind an earlier one, which the engine has kept."""
        if not earlier:
            return self
        base = earlier[-1]
        marks = (*earlier, *(_behind(base, mark) for mark in self.marks))[-MAX_MARKS:]
        return Prompt(marks, _behind(base, self.end))


def answered(marks: tuple[PrefixMark, ...], response: str, size: int) -> tuple[PrefixMark, ...]:
    """The marks of a prompt with its answer of about `size` bytes, known by its id, or its text."""
    base = marks[-1] if marks else PrefixMark(0, 0)
    return (*marks, PrefixMark(_next_mark(base, _encode(response)).hash, base.size + size))


def in_pieces(prompt: Prompt, messages: int, pieces: Iterable[str]) -> Prompt:
    """A chat's prompt of which a model wrote what is behind the first `messages`, piece by piece: with a mark after each.

    So the next one, whose last message is longer by a piece, is seen to go on where this one ends.
    """
    marks = prompt.marks[:messages]
    for piece in pieces:
        marks = answered(marks, piece, len(_encode(piece)))
    return replace(prompt, marks=marks[:MAX_MARKS])


def chat_prompt(body: Body, model: str) -> Prompt:
    """The prompt of a chat: a mark for what the template adds (tools), then one a message, as the client wrote it.

    Raises:
        ApiError: `messages` is not a list of objects.
    """
    messages = _objects(body, "messages")
    pieces = [message.raw for message in messages]
    return _conversation(body, model, pieces, [_is_answer(message) for message in messages])


def items_prompt(body: Body, model: str) -> Prompt:
    """The prompt of a response: as that of a chat, with the items of `input`, which may also be one user's text.

    A user's message that is nothing but a text has the same mark whether it came as an item or as the whole input.

    Raises:
        ApiError: `input` is neither a text nor a list of objects.
    """
    text = body.fields.get("input")
    if isinstance(text, str):
        return _conversation(body, model, [_encode(text)], [False])
    items = _objects(body, "input", "a text, or a list of items")
    return _conversation(body, model, [_item_bytes(item) for item in items], [_is_answer(item) for item in items])


def _objects(body: Body, name: str, must: str = "a list of messages") -> list[Element]:
    values = body.fields.get(name)
    if not isinstance(values, list):
        raise wrong(name, must)
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise wrong(f"{name}[{index}]", "an object")
    return body.elements(name)


def _is_answer(element: Element) -> bool:
    value = element.value
    return isinstance(value, dict) and (value.get("role") == "assistant" or value.get("type") in _MODEL_ITEMS)


def _item_bytes(item: Element) -> bytes:
    value = item.value
    if isinstance(value, dict) and value.get("role") == "user" and isinstance(value.get("content"), str):
        return _encode(str(value["content"]))
    return item.raw


def _conversation(body: Body, model: str, pieces: list[bytes], answers: list[bool]) -> Prompt:
    head = "".join(name + body.raw(name) for name in _TEMPLATE_FIELDS if name in body.fields)
    marks = _chain(model, (_encode(head), *pieces))
    turns = [mark for mark, is_answer in zip(marks[:MAX_MARKS], answers, strict=False) if is_answer]
    kept = tuple(mark for mark in marks[:MAX_MARKS] if mark.size)
    return Prompt(kept, marks[-1], turns=tuple(reversed(turns)))


def plain_prompt(body: Body, model: str) -> Prompt:
    """The prompt of a completion: a mark every `PLAIN_STEP` bytes. Several prompts in one request have no marks.

    Raises:
        ApiError: `prompt` is neither text nor token ids, nor a list of such.
    """
    value = body.fields.get("prompt")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    text = _bytes_of(value)
    if text is not None:
        return _plain(text, model, len(value) if isinstance(value, list) else None)
    if not isinstance(value, list) or not value:
        raise wrong("prompt", _MUST_BE)
    parts = [_bytes_of(item) for item in value]
    if None in parts:
        raise wrong("prompt", _MUST_BE)
    return Prompt((), PrefixMark(0, sum(len(part) for part in parts if part)))


def _plain(text: bytes, model: str, tokens: Tokens | None) -> Prompt:
    whole = min(len(text) // PLAIN_STEP, MAX_MARKS)
    steps = (text[index * PLAIN_STEP : (index + 1) * PLAIN_STEP] for index in range(whole))
    seed, *marks = _chain(model, (b"", *steps))
    last = marks[-1] if marks else seed
    rest = text[last.size :]
    return Prompt(tuple(marks), _next_mark(last, rest) if rest else last, tokens, tuple(reversed(marks)), text)


def _bytes_of(value: object) -> bytes | None:
    """A text, or a non-empty list of token ids at four bytes each; None if it is neither."""
    if isinstance(value, str):
        return _encode(value)
    if not isinstance(value, list) or not value:
        return None
    try:
        return array("I", value).tobytes()
    except (TypeError, OverflowError):
        return None


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _chain(model: str, pieces: Iterable[bytes]) -> list[PrefixMark]:
    seed = int.from_bytes(sha256(_encode(model)).digest()[:8])
    return list(accumulate(pieces, _next_mark, initial=PrefixMark(seed, 0)))[1:]


def _behind(base: PrefixMark, mark: PrefixMark) -> PrefixMark:
    return PrefixMark(_next_mark(base, mark.hash.to_bytes(8)).hash, base.size + mark.size)


def _next_mark(mark: PrefixMark, piece: bytes) -> PrefixMark:
    """The hash is SHA-256's first 8 bytes: processors have instructions for it, and a body is hashed whole."""
    chained = sha256(mark.hash.to_bytes(8))
    chained.update(piece)
    return PrefixMark(int.from_bytes(chained.digest()[:8]), mark.size + len(piece))
