"""Byte-true edits of a JSON object: only the members that are named change, everything else is copied as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, TypeAlias

MAX_ELEMENTS = 32_768
"""The longest array that is split into its elements."""

SPLIT = frozenset({"messages", "input"})
"""Arrays whose elements are needed one by one."""

_OBJECTS = re.compile(r"\[[ \t\n\r]*\{")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_SPACE = re.compile(r"[ \t\n\r]*")
_NAME = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\n\r]*:[ \t\n\r]*')
"""A member's name, if there is nothing to unescape in it, up to the value."""


class BadJsonError(ValueError):
    """The text is not the JSON it should be. The message says where."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Members to set and members to drop. A value that is itself an `Edit` is merged into the object that is there."""

    put: Mapping[str, NewValue] = field(default_factory=dict)
    drop: Collection[str] = ()


NewValue: TypeAlias = "str | int | float | bool | Mapping[str, str | int | float] | Edit | None"


class Member(NamedTuple):
    """One `"name": value` of an object; the numbers are positions in its text."""

    name: str
    start: int
    value_start: int
    end: int
    value: object


class Element(NamedTuple):
    """One value of an array, and its bytes as the client wrote it."""

    value: object
    raw: bytes


class Span(NamedTuple):
    """Where a value of an array stands in its text."""

    value: object
    start: int
    end: int


class Body:
    """A request body that is a JSON object, scanned once.

    Where a key occurs more than once the last one counts, as in every common parser.
    """

    __slots__ = ("_data", "_members", "_same", "_spans", "fields", "text")

    def __init__(self, data: bytes) -> None:
        """Scans the body.

        Raises:
            BadJsonError: it is not UTF-8, not JSON, or not an object.
        """
        try:
            self.text = data.decode()
        except UnicodeDecodeError as error:
            raise BadJsonError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
        self._data = data
        self._same = len(self.text) == len(data)
        """The text is ASCII: a position in it is one in the bytes."""
        self._spans: dict[str, list[Span]] = {}
        self._members = _scan_object(self.text, self._spans)
        self.fields: dict[str, object] = {member.name: member.value for member in self._members}

    def raw(self, name: str) -> str:
        """The text of a member's value as the client wrote it; empty if the member is not there."""
        member = self._last(name)
        return self.text[member.value_start : member.end] if member else ""

    def elements(self, name: str) -> list[Element]:
        """The elements of one of the `SPLIT` arrays, if they are objects, with their bytes."""
        return [Element(value, self._bytes(start, end)) for value, start, end in self._spans.get(name, ())]

    def edited(self, edit: Edit) -> bytes:
        """The body with the edit applied: each key that is put occurs exactly once in the result."""
        if not edit.put and not any(name in self.fields for name in edit.drop):
            return self._data
        if self._same:
            pieces = _edited(self.text, self._members, edit)
            whole = memoryview(self._data)
            return b"".join(piece.encode() if isinstance(piece, str) else whole[piece] for piece in pieces)
        return _joined(self.text, self._members, edit).encode()

    def _bytes(self, start: int, end: int) -> bytes:
        return self._data[start:end] if self._same else self.text[start:end].encode()

    def _last(self, name: str) -> Member | None:
        return next((member for member in reversed(self._members) if member.name == name), None)


def _refuse_constant(name: str) -> NoReturn:
    raise BadJsonError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _scan_value(text: str, at: int) -> tuple[object, int]:
    try:
        return _decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise BadJsonError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise BadJsonError("nested too deeply") from None
    except BadJsonError:
        raise
    except ValueError as error:
        raise BadJsonError(str(error)) from None


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect(text: str, at: int, wanted: str) -> str:
    found = text[at : at + 1]
    if not found or found not in wanted:
        what = " or ".join(repr(character) for character in wanted)
        raise BadJsonError(f"expected {what} but found {found!r} at character {at}" if found else f"ends before {what}")
    return found


def _next(text: str, at: int, close: str) -> tuple[int, bool]:
    """Where the next member or element starts behind one that ends at `at`; or where `close` is, and False."""
    if comma := _COMMA.match(text, at):
        return comma.end(), True
    at = _skip_space(text, at)
    _expect(text, at, f",{close}")
    return at, False


def _scan_object(text: str, spans: dict[str, list[Span]] | None = None) -> list[Member]:
    """The members; where `spans` is given, it gets the elements of `SPLIT` arrays of objects."""
    at = _skip_space(text, 0)
    _expect(text, at, "{")
    at = _skip_space(text, at + 1)
    members: list[Member] = []
    more = _expect(text, at, '"}') == '"'
    while more:
        member = _scan_member(text, at, spans)
        members.append(member)
        at, more = _next(text, member.end, "}")
        if more:
            _expect(text, at, '"')
    at = _skip_space(text, at + 1)
    if at != len(text):
        raise BadJsonError(f"more text after the object at character {at}")
    return members


def _scan_member(text: str, start: int, spans: dict[str, list[Span]] | None) -> Member:
    name, value_start = _scan_name(text, start)
    if spans is not None and name in SPLIT:
        spans.pop(name, None)
        if _OBJECTS.match(text, value_start):
            elements, end = _scan_array(text, value_start)
            spans[name] = elements
            return Member(name, start, value_start, end, [element.value for element in elements])
    value, end = _scan_value(text, value_start)
    return Member(name, start, value_start, end, value)


def _scan_name(text: str, start: int) -> tuple[str, int]:
    """A member's name and where its value starts."""
    if plain := _NAME.match(text, start):
        return plain[1], plain.end()
    name, end = _scan_value(text, start)
    colon = _skip_space(text, end)
    _expect(text, colon, ":")
    return str(name), _skip_space(text, colon + 1)


def _scan_array(text: str, at: int) -> tuple[list[Span], int]:
    """The elements of an array that has some, and its end."""
    spans: list[Span] = []
    at = _skip_space(text, at + 1)
    more = True
    while more:
        if len(spans) == MAX_ELEMENTS:
            raise BadJsonError(f"an array has more than {MAX_ELEMENTS} elements")
        value, end = _scan_value(text, at)
        spans.append(Span(value, at, end))
        at, more = _next(text, end, "]")
    return spans, at + 1


def _joined(text: str, members: list[Member], edit: Edit) -> str:
    return "".join(piece if isinstance(piece, str) else text[piece] for piece in _edited(text, members, edit))


def _edited(text: str, members: list[Member], edit: Edit) -> Iterator[str | slice]:
    """The edited object piece by piece: what is new, and what is taken from the text."""
    last = {member.name: member for member in members}
    done: set[str] = set()
    start = members[0].start if members else text.index("{") + 1
    yield slice(0, start)
    kept = False
    end = 0
    for member in members:
        separator, end = slice(end, member.start), member.end
        if member.name in done or (member.name in edit.drop and member.name not in edit.put):
            continue
        if kept:
            yield separator
        kept = True
        if member.name in edit.put:
            done.add(member.name)
            yield slice(member.start, member.value_start)
            yield _rendered(edit.put[member.name], text, last[member.name])
        else:
            yield slice(member.start, member.end)
    for name, value in edit.put.items():
        if name not in done:
            yield f"{',' if kept else ''}{json.dumps(name)}:{_rendered(value, text, None)}"
            kept = True
    yield slice(end or start, len(text))


def _rendered(value: NewValue, text: str, old: Member | None) -> str:
    if not isinstance(value, Edit):
        return json.dumps(value)
    if old is None or not isinstance(old.value, dict):
        return _joined("{}", [], value)
    inner = text[old.value_start : old.end]
    return _joined(inner, _scan_object(inner), value)
