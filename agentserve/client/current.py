"""Which program, and which stage of it, the running code belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from typing import Protocol


class Running(Protocol):
    """What a tool needs of the program in whose `with` block it is called."""

    def running(self, tool: str) -> AbstractContextManager[object]: ...


_PROGRAM: ContextVar[Running | None] = ContextVar("agentserve_program", default=None)
_STAGE: ContextVar[tuple[str, str] | None] = ContextVar("agentserve_stage", default=None)


def current_program() -> Running | None:
    """The program whose `with` block this is; None outside of all."""
    return _PROGRAM.get()


def enter(program: Running) -> Token[Running | None]:
    """The `with` block of a program begins."""
    return _PROGRAM.set(program)


def leave(token: Token[Running | None]) -> None:
    """The block ends. One that ends in another task than it began in has nothing to restore there."""
    try:
        _PROGRAM.reset(token)
    except ValueError:
        pass


@contextmanager
def within_stage(program: str, stage: str) -> Iterator[None]:
    """Calls of the program are of that stage, unless they name another."""
    token = _STAGE.set((program, stage))
    try:
        yield
    finally:
        _STAGE.reset(token)


def current_stage(program: str) -> str | None:
    """The stage of the innermost block of that program; None if there is none."""
    program_and_stage = _STAGE.get()
    return program_and_stage[1] if program_and_stage and program_and_stage[0] == program else None
