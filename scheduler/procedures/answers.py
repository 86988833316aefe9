r"""Finding the answer in a sample's text.

`boxed` takes the last `\boxed{...}`, braces balanced; `regex` the last match's first group (or the whole match); a
`json-path` a value in the last JSON object of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_KEY = re.compile(r"[.]?([A-Za-z_][\w-]*)|\[(\d+)\]")


class Rule(StrEnum):
    """Where the answer stands."""

    BOXED = "boxed"
    REGEX = "regex"
    JSON_PATH = "json-path"


@dataclass(frozen=True, slots=True)
class Extraction:
    """How to find an answer. `pattern` is the expression of `regex`, or the path of `json-path`, like `result.items[0]`.

    Raises:
        ValueError: the pattern is missing, is not needed, or cannot be read.
    """

    rule: Rule = Rule.BOXED
    pattern: str = ""

    def __post_init__(self) -> None:
        if bool(self.pattern) == (self.rule is Rule.BOXED):
            raise ValueError(
                f"answer by {self.rule.value} " + ("takes no pattern" if self.pattern else "needs a pattern")
            )
        if self.rule is Rule.REGEX:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"{self.pattern!r} is no regular expression: {error}") from None
        elif self.rule is Rule.JSON_PATH:
            _keys(self.pattern)

    def find(self, text: str) -> str:
        """The answer, without spaces around it; "" if there is none."""
        match self.rule:
            case Rule.BOXED:
                return _boxed(text)
            case Rule.REGEX:
                return _last_match(self.pattern, text)
            case Rule.JSON_PATH:
                return _by_path(_keys(self.pattern), text)


def _boxed(text: str) -> str:
    """The content of the last complete box."""
    starts = [match.end() for match in re.finditer(r"\\boxed\s*\{", text)]
    for start in reversed(starts):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if not depth:
                return text[start:end].strip()
    return ""


def _last_match(pattern: str, text: str) -> str:
    matches = list(re.finditer(pattern, text))
    if not matches:
        return ""
    last = matches[-1]
    return (last[1] or "" if last.re.groups else last[0]).strip()


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    rest = path.removeprefix("$")
    while rest:
        match = _KEY.match(rest)
        if match is None:
            raise ValueError(f"{path!r} is no path: write keys and indices like result.items[0]")
        keys.append(match[1] if match[1] is not None else int(match[2]))
        rest = rest[match.end() :]
    if not keys:
        raise ValueError(f"{path!r} names no key: write keys and indices like result.items[0]")
    return keys


def _by_path(keys: list[str | int], text: str) -> str:
    for value in _objects_from_the_end(text):
        found = _walk(keys, value)
        if found is not None:
            return found.strip() if isinstance(found, str) else json.dumps(found, sort_keys=True)
    return ""


def _walk(keys: list[str | int], value: object) -> object:
    for key in keys:
        if isinstance(key, str) and isinstance(value, dict):
            value = value.get(key)
        elif isinstance(key, int) and isinstance(value, list) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _objects_from_the_end(text: str) -> Iterator[object]:
    """The JSON objects in a text, those that begin last first."""
    decoder = json.JSONDecoder()
    start = text.rfind("{")
    while start >= 0:
        try:
            yield decoder.raw_decode(text, start)[0]
        except (json.JSONDecodeError, RecursionError):
            pass
        start = text.rfind("{", 0, start)
