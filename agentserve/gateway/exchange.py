"""One exchange with an engine, whose answer is read whole."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from agentserve.engines.base import Engine, Reply
from agentserve.gateway.answer import BadAnswerError

JSON = {"content-type": "application/json"}
"""The headers of a body that is our own."""
SHORT = 1024 * 1024
"""Longer than any answer to a question of ours."""


async def ask(
    engine: Engine, path: str, body: bytes, headers: Mapping[str, str] = JSON, limit: int = SHORT
) -> tuple[Reply, bytes]:
    """POSTs a body; returns the answer's head and its body, at most `limit` bytes long.

    Raises:
        BadAnswerError: it is longer.
        EngineError: no answer came, or the connection broke.
    """
    async with aclosing(await engine.open(path, headers, body)) as reply:
        return reply, await whole_body(reply, limit)


async def whole_body(reply: Reply, limit: int) -> bytes:
    """An answer's body in one piece. Raises as `ask` does."""
    pieces: list[bytes] = []
    size = 0

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if size > limit:
            raise BadAnswerError(f"its answer is longer than {limit} bytes (limits.answer_bytes)")
        pieces.append(piece)

    await reply.relay(take)
    return b"".join(pieces)
