"""What becomes of the parts of a trace that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from workloads.program import WorkloadError

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Damage:
    """Either an error at the first damaged part, or a count of those that were left out."""

    def __init__(self, *, skip: bool) -> None:
        self._skip = skip
        self.count = 0
        self.first = ""
        """What was wrong with the first part that was left out."""

    def attempt(
        self, where: str, read: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result | None:
        """What `read` makes of the part at `where`; None if it is damaged and left out.

        Raises:
            WorkloadError: `read` did, and damage is not to be skipped. The message begins with `where`.
        """
        try:
            return read(*args, **kwargs)
        except WorkloadError as error:
            message = f"{where}: {error}"
        if not self._skip:
            raise WorkloadError(message)
        self.count += 1
        self.first = self.first or message
        return None
