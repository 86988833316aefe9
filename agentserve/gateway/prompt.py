"""A prompt as the scheduler needs it: its size, and the marks by which two prompts find what they share."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate

from agentserve.gateway.errors import wrong
from agentserve.gateway.splice import Body
from scheduler.types import PrefixMark, Tokens

PLAIN_STEP = 512
"""Bytes of a plain prompt from one mark to the next."""
MAX_MARKS = 4096
"""A prompt has no more marks than this; what lies behind the last is not compared."""

_TEMPLATE_FIELDS = ("tools", "chat_template", "chat_template_kwargs", "documents", "reasoning_effort", "cache_salt")
"""What a chat template renders around the messages, and what parts one cache from another."""
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


def chat_prompt(body: Body, model: str) -> Prompt:
    """The prompt of a chat: a mark for what the template adds (tools), then one a message, as the client wrote it.

    Raises:
        ApiError: `messages` is not a list of objects.
    """
    if not isinstance(body.fields.get("messages"), list):
        raise wrong("messages", "a list of messages")
    messages = body.elements("messages")
    for index, message in enumerate(messages):
        if not isinstance(message.value, dict):
            raise wrong(f"messages[{index}]", "an object")
    head = "".join(name + body.raw(name) for name in _TEMPLATE_FIELDS if name in body.fields)
    marks = _chain(model, (_encode(text) for text in (head, *(message.text for message in messages))))
    turns = [
        mark
        for mark, message in zip(marks[:MAX_MARKS], messages, strict=False)
        if isinstance(message.value, dict) and message.value.get("role") == "assistant"
    ]
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
    seed = int.from_bytes(blake2b(_encode(model), digest_size=8).digest())
    return list(accumulate(pieces, _next_mark, initial=PrefixMark(seed, 0)))[1:]


def _next_mark(mark: PrefixMark, piece: bytes) -> PrefixMark:
    chained = blake2b(mark.hash.to_bytes(8) + piece, digest_size=8)
    return PrefixMark(int.from_bytes(chained.digest()), mark.size + len(piece))
