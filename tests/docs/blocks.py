"""The code blocks of README and docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block, with the number of the line that it begins on."""

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> Iterator[str]:
        """The commands of a console block, without comments; those that go on in the next line as one."""
        begun: list[str] = []
        for line in self.text.replace("\\\n", " ").splitlines():
            begun.append(re.sub(r"(^|\s)#\s.*", "", line).strip())
            try:
                shlex.split("\n".join(begun))
            except ValueError:
                continue  # in the middle of a quotation
            if any(begun):
                yield "\n".join(begun)
            begun = []


def blocks(language: str, *pages: Path) -> list[Block]:
    """All blocks in a language."""
    found = []
    for page in pages or PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page.name, line, match[1], match[2] or "", match[3]))
    return found
