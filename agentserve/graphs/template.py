"""Placeholders: `$k` and `${k}` stand for the value of node k, `${k.title.0}` for what is inside it, `$$` for a dollar."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\$(?:(\$)|\{([A-Za-z0-9_]+)((?:\.[A-Za-z0-9_-]+)*)\}|([A-Za-z0-9_]+))")
NAME = re.compile(r"[A-Za-z0-9_]+")

_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Template:
    """A value in which placeholders stand for nodes' values: a text, or lists and mappings of such.

    Attributes:
        value: as it was given.
        refs: the nodes that it refers to, in the order of their first places.
        plain: there is no dollar in it, so that nothing has to be filled in.
    """

    value: object
    refs: tuple[str, ...]
    plain: bool

    @classmethod
    def parse(cls, value: object) -> Template:
        """Finds the placeholders."""
        refs: dict[str, None] = {}
        plain = _collect(value, refs)
        return cls(value, tuple(refs), plain)

    def fill(self, values: Mapping[str, object]) -> object:
        """The value with nodes' values in place.

        A text that is one placeholder becomes the value itself; inside a longer text it is written out: texts as they
        are, everything else as JSON. What was filled in is not looked into again.

        Raises:
            LookupError: a value has nothing at the place that is asked for.
        """
        return self.value if self.plain else _fill(self.value, values)


def escape(text: str) -> str:
    """A text in which dollars stand for themselves."""
    return text.replace("$", "$$")


def bare(name: str) -> str:
    """A node's id, also where it was given as a placeholder."""
    return name.strip("${}")


def written(value: object) -> str:
    """A value inside a longer text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _collect(value: object, refs: dict[str, None]) -> bool:
    """Adds what a value refers to. Whether there is no dollar in it."""
    if isinstance(value, str):
        if "$" not in value:
            return True
        for match in PLACEHOLDER.finditer(value):
            if not match[1]:
                refs[match[2] or match[4]] = None
        return False
    plain = True
    for item in _items(value):
        plain = _collect(item, refs) and plain
    return plain


def _items(value: object) -> Collection[object]:
    """What is inside a list or mapping. Plain classes come first, because asking for `Mapping` is slow."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, dict) or (not isinstance(value, _PLAIN) and isinstance(value, Mapping)):
        return value.values()
    return ()


def _fill(value: object, values: Mapping[str, object]) -> object:
    if isinstance(value, str):
        return _fill_text(value, values) if "$" in value else value
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    if isinstance(value, tuple):
        return tuple([_fill(item, values) for item in value])
    if isinstance(value, dict) or (not isinstance(value, _PLAIN) and isinstance(value, Mapping)):
        return {name: _fill(item, values) for name, item in value.items()}
    return value


def _fill_text(text: str, values: Mapping[str, object]) -> object:
    whole = PLACEHOLDER.fullmatch(text)
    if whole and not whole[1]:
        return _found(whole, values)
    return PLACEHOLDER.sub(lambda match: "$" if match[1] else written(_found(match, values)), text)


def _found(match: re.Match[str], values: Mapping[str, object]) -> object:
    value = values.get(match[2] or match[4])
    for step in (match[3] or "").split(".")[1:]:
        try:
            value = value[int(step)] if isinstance(value, list | tuple) else value[step]  # type: ignore[index]
        except (LookupError, TypeError, ValueError):
            raise LookupError(f"{match[0]}: there is no {step!r} in {written(value)[:200]}") from None
    return value


def frozen(value: object) -> object:
    """A hashable copy that is equal for equal values only: 1, 1.0 and True differ.

    Raises:
        TypeError: there is something in it that cannot be compared by value.
    """
    if isinstance(value, _PLAIN):
        return type(value).__name__, value
    if isinstance(value, Mapping):
        return "mapping", frozenset((frozen(name), frozen(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(frozen(item) for item in value)
    raise TypeError(f"{type(value).__name__} is not compared by value")
