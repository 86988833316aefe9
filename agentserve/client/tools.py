"""Tools as the SDK knows them: a function, its name, and what running it does to the world."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, ParamSpec, TypeVar

from agentserve.client.current import current_program

P = ParamSpec("P")
R = TypeVar("R")


class Effect(StrEnum):
    """What running a tool does to the world."""

    PURE = "pure"
    """Nothing: it may be run again, run early, and run once for equal arguments."""
    IDEMPOTENT = "idempotent"
    """Something, but twice is the same as once: it may be run again."""
    IRREVERSIBLE = "irreversible"
    """Something that cannot be taken back: it is run once, and never early."""


@dataclass(eq=False)
class Tool(Generic[P, R]):
    """A function with an effect; called like the function itself.

    A call in the `with` block of a program is timed, and the gateway is told when the tool starts and ends.
    """

    function: Callable[P, R]
    name: str
    effect: Effect
    dry_run: Callable[P, object] | None = None
    """Says what the tool would do, or raises if it would fail; changes nothing."""

    @property
    def is_async(self) -> bool:
        """Whether a call of it has to be awaited."""
        return inspect.iscoroutinefunction(self.function)

    def check(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Raises `TypeError` if the function does not take these arguments."""
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._signature}: {error}") from None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.is_async:
            return self._timed(*args, **kwargs)  # type: ignore[return-value]  # R is the coroutine
        program = current_program()
        with nullcontext() if program is None else program.running(self.name):
            return self.function(*args, **kwargs)

    async def _timed(self, *args: Any, **kwargs: Any) -> Any:
        program = current_program()
        with nullcontext() if program is None else program.running(self.name):
            return await self.function(*args, **kwargs)  # type: ignore[misc]

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)


def tool(
    *, effect: Effect | str, name: str | None = None, dry_run: Callable[..., object] | None = None
) -> Callable[[Callable[P, R]], Tool[P, R]]:
    """Makes a function a tool: `@tool(effect="pure")`.

    The effect has no default, because a wrong guess repeats what must not be repeated.

    Raises:
        ValueError: there is no such effect.
    """
    try:
        kind = Effect(effect)
    except ValueError:
        raise ValueError(f"effect must be one of {', '.join(Effect)}, not {effect!r}") from None

    def decorate(function: Callable[P, R]) -> Tool[P, R]:
        made = Tool(function, name or function.__name__, kind, dry_run)
        functools.update_wrapper(made, function, updated=())
        return made

    return decorate
