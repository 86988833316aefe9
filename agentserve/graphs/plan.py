"""Plans as a model writes them, read while it still writes.

    1. search("weather in Paris")
    2. search("weather in Rome", limit=3)
    3. compare($1, $2)

A line is a number, a name and arguments as Python writes them, with placeholders for earlier lines. Lines that are not of
that shape ("Thought: ...") are passed over. A dollar in a text that names no earlier line stands for itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentserve.graphs.errors import PlanError
from agentserve.graphs.template import PLACEHOLDER

_LINE = re.compile(r"\s*\$?(\d+)\s*[.):=]\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\((.*)\)\s*;?\s*$", re.DOTALL)
_BEGIN = re.compile(r"\s*\$?\d+\s*[.):=]\s*[A-Za-z_][A-Za-z0-9_.-]*\s*\(")
_TOKEN = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\$\{?([A-Za-z0-9_]+)((?:\.[A-Za-z0-9_-]+)*)\}?", re.DOTALL)
LONGEST = 65_536
"""Characters of one line; a longer one is no plan."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a plan: the tool or prompt `name`, and its arguments with placeholders for nodes' ids."""

    id: str
    name: str
    args: tuple[object, ...]
    kwargs: dict[str, object]
    line: str


class PlanReader:
    """Reads one plan.

    Its numbers become ids behind `prefix`. Placeholders mean the plan's own earlier lines, and else what is `known`.
    """

    def __init__(self, known: Callable[[str], bool], prefix: str = "") -> None:
        self.steps: list[Step] = []
        self._known = known
        self._prefix = prefix
        self._rest = ""
        self._ids: set[str] = set()

    def feed(self, text: str) -> Iterator[Step]:
        """The steps whose lines end in this piece of the text.

        Raises:
            PlanError: a line has a step's shape and cannot be read.
        """
        self._rest += text
        if len(self._rest) > LONGEST:
            raise PlanError(f"a line of the plan is longer than {LONGEST} characters: {self._rest[:80]!r}...")
        while "\n" in self._rest:
            line, self._rest = self._rest.split("\n", 1)
            yield from self._read(line)

    def end(self) -> Iterator[Step]:
        """The step of the last line, if it has one; raises as `feed`."""
        line, self._rest = self._rest, ""
        yield from self._read(line)

    def _read(self, line: str) -> Iterator[Step]:
        match = _LINE.match(line)
        if match is None:
            if _BEGIN.match(line):
                raise PlanError(f"no closing parenthesis: {line.strip()!r}")
            return
        number, name, arguments = match.groups()
        if number in self._ids:
            raise PlanError(f"the plan has two lines {number}; the second is {line.strip()!r}")
        args, kwargs = self._arguments(arguments, line)
        self._ids.add(number)
        step = Step(self._prefix + number, name, args, kwargs, line.strip())
        self.steps.append(step)
        yield step

    def _arguments(self, text: str, line: str) -> tuple[tuple[object, ...], dict[str, object]]:
        source = _TOKEN.sub(lambda match: self._token(match, line), text)
        try:
            call = ast.parse(f"f({source})", mode="eval").body
            if not isinstance(call, ast.Call) or any(word.arg is None for word in call.keywords):
                raise SyntaxError("no arguments")
            args = tuple(ast.literal_eval(each) for each in call.args)
            return args, {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise PlanError(
                f"arguments must be texts, numbers, lists or $k, as Python has them: {line.strip()!r}"
            ) from None

    def _token(self, match: re.Match[str], line: str) -> str:
        """A text with the placeholders in it, or a placeholder as a text."""
        if match[1] is None:
            try:
                text = str(ast.literal_eval(match[0]))
            except (SyntaxError, ValueError):
                return match[0]
            return repr(PLACEHOLDER.sub(self._in_text, text))
        name = self._named(match[1])
        if name is None:
            raise PlanError(f"${match[1]} is no earlier line: {line.strip()!r}")
        return repr(f"${{{name}{match[2]}}}")

    def _in_text(self, match: re.Match[str]) -> str:
        name = self._named(match[2] or match[4]) if not match[1] else None
        return match[0].replace("$", "$$") if name is None else f"${{{name}{match[3] or ''}}}"

    def _named(self, number: str) -> str | None:
        if number in self._ids:
            return self._prefix + number
        return number if self._known(number) else None
