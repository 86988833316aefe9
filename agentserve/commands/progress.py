"""How far long work is: bars on standard error, so that standard output holds only what was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import rich.progress
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from agentserve.commands.common import err


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of long work, in steps."""

    progress: Progress
    task: TaskID

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self.progress.advance(self.task, steps)

    def say(self, text: str) -> None:
        """Shows what is going on."""
        self.progress.update(self.task, description=escape(text[:100]))

    def expect(self, total: int) -> None:
        """There will be so many steps."""
        self.progress.update(self.task, total=total)


@contextmanager
def bar(text: str, total: int | None, *, keep: bool = False) -> Iterator[Bar]:
    """A bar while the work goes on; with `keep` it stays on the screen. Without a total none is known yet."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=not keep) as progress:
        yield Bar(progress, progress.add_task(escape(text), total=total))


@contextmanager
def reading(path: Path) -> Iterator[TextIO]:
    """The file's text, with a bar that shows how much of it has been read.

    Raises:
        OSError: it cannot be opened.
    """
    with rich.progress.open(
        path,
        "r",
        encoding="utf-8",
        console=err,
        transient=True,
        disable=not err.is_terminal,
        description=f"replaying {escape(str(path))}",
    ) as lines:
        yield lines
