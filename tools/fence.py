"""The fenced bash block by which agents without function calling run their commands."""

from __future__ import annotations

import re

from tools.names import clip

_FENCE = re.compile(r"\s*(`{3,}|~{3,})[ \t]*([^`]*)$")
_LANGUAGES = frozenset({"bash", "sh", "shell"})
_LINE_LIMIT = 1024


class BashBlock:
    """Finds the first word of the single fenced bash block of a text that comes in pieces.

    Keeps one line of at most 1,024 characters, whatever the length of the text. A block that is never closed is
    none: agents run only what they can cut out whole.
    """

    __slots__ = ("_blocks", "_fence", "_in_bash", "_line", "_word")

    def __init__(self) -> None:
        self._line = ""
        self._fence = ""
        self._in_bash = False
        self._blocks = 0
        self._word = ""

    def feed(self, text: str) -> None:
        """Reads the next piece of the text; pieces may end anywhere, also within a fence."""
        *ended, last = text.split("\n")
        for line in ended:
            self._extend(line)
            self._end_line()
        self._extend(last)

    @property
    def word(self) -> str | None:
        """The command's first word, comments and empty lines aside; None unless there is exactly one bash block.

        The text read so far is taken to be the whole.
        """
        blocks = self._blocks + (self._in_bash and self._closes(self._line))
        return self._word if blocks == 1 and self._word else None

    def _extend(self, text: str) -> None:
        room = _LINE_LIMIT - len(self._line)
        if text and room > 0:
            self._line += text[:room]

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        if not self._fence:
            self._open(line)
        elif self._closes(line):
            self._blocks += self._in_bash
            self._fence, self._in_bash = "", False
        elif self._in_bash and not self._word:
            self._read_command(line)

    def _open(self, line: str) -> None:
        match = _FENCE.match(line)
        if match:
            self._fence = match[1]
            self._in_bash = match[2].partition(" ")[0].strip().lower() in _LANGUAGES

    def _closes(self, line: str) -> bool:
        line = line.strip()
        return len(line) >= len(self._fence) and line == self._fence[0] * len(line)

    def _read_command(self, line: str) -> None:
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            self._word = clip(words[0])
