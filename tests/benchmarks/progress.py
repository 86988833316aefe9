"""How far a benchmark is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


def bar() -> Progress:
    """How far a tournament is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn())


def counted(progress: Progress, what: str, futures: Sequence[Future[T]]) -> Iterator[T]:
    """The results of futures as they come."""
    task = progress.add_task(what, total=len(futures))
    for future in as_completed(futures):
        yield future.result()
        progress.advance(task)
