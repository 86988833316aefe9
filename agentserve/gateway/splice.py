"""Byte-true edits of a JSON object: only the members that are named change, everything else is copied as it came."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, TypeAlias

MAX_ELEMENTS = 32_768
"""The longest array that is split into its elements."""

_SPACE = re.compile(r"[ \t\n\r]*")


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
    """One value of an array, and its text as the client wrote it."""

    value: object
    text: str


class Body:
    """A request body that is a JSON object, scanned once.

    Where a key occurs more than once the last one counts, as in every common parser.
    """

    __slots__ = ("_data", "_members", "fields", "text")

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
        self._members = _scan_object(self.text)
        self.fields: dict[str, object] = {member.name: member.value for member in self._members}

    def raw(self, name: str) -> str:
        """The text of a member's value as the client wrote it; empty if the member is not there."""
        member = self._last(name)
        return self.text[member.value_start : member.end] if member else ""

    def elements(self, name: str) -> list[Element]:
        """The elements of an array with their texts.

        Raises:
            BadJsonError: it has more than `MAX_ELEMENTS`.
        """
        member = self._last(name)
        return list(_scan_array(self.text, member.value_start)) if member else []

    def edited(self, edit: Edit) -> bytes:
        """The body with the edit applied: each key that is put occurs exactly once in the result."""
        if not edit.put and not any(name in self.fields for name in edit.drop):
            return self._data
        return _edited(self.text, self._members, edit).encode()

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


def _scan_object(text: str) -> list[Member]:
    at = _skip_space(text, 0)
    _expect(text, at, "{")
    at = _skip_space(text, at + 1)
    members: list[Member] = []
    more = _expect(text, at, '"}') == '"'
    while more:
        member = _scan_member(text, at)
        members.append(member)
        at = _skip_space(text, member.end)
        more = _expect(text, at, ",}") == ","
        if more:
            at = _skip_space(text, at + 1)
            _expect(text, at, '"')
    at = _skip_space(text, at + 1)
    if at != len(text):
        raise BadJsonError(f"more text after the object at character {at}")
    return members


def _scan_member(text: str, start: int) -> Member:
    name, end = _scan_value(text, start)
    colon = _skip_space(text, end)
    _expect(text, colon, ":")
    value_start = _skip_space(text, colon + 1)
    value, end = _scan_value(text, value_start)
    return Member(str(name), start, value_start, end, value)


def _scan_array(text: str, at: int) -> Iterator[Element]:
    at = _skip_space(text, at + 1)
    count = 0
    while text[at] != "]":
        if count == MAX_ELEMENTS:
            raise BadJsonError(f"an array has more than {MAX_ELEMENTS} elements")
        value, end = _scan_value(text, at)
        yield Element(value, text[at:end])
        count += 1
        at = _skip_space(text, end)
        if text[at] == ",":
            at = _skip_space(text, at + 1)


def _edited(text: str, members: list[Member], edit: Edit) -> str:
    last = {member.name: member for member in members}
    kept: list[str] = []
    done: set[str] = set()
    end = 0
    for member in members:
        separator, end = text[end : member.start], member.end
        if member.name in done or (member.name in edit.drop and member.name not in edit.put):
            continue
        kept.append(separator if kept else "")
        if member.name in edit.put:
            done.add(member.name)
            kept.append(text[member.start : member.value_start])
            kept.append(_rendered(edit.put[member.name], text, last[member.name]))
        else:
            kept.append(text[member.start : member.end])
    for name, value in edit.put.items():
        if name not in done:
            kept.append(f"{',' if kept else ''}{json.dumps(name)}:{_rendered(value, text, None)}")
    start = members[0].start if members else text.index("{") + 1
    return "".join((text[:start], *kept, text[end or start :]))


def _rendered(value: NewValue, text: str, old: Member | None) -> str:
    if not isinstance(value, Edit):
        return json.dumps(value)
    if old is None or not isinstance(old.value, dict):
        return _edited("{}", [], value)
    inner = text[old.value_start : old.end]
    return _edited(inner, _scan_object(inner), value)
