"""What gateways and the brain send each other: lists of JSON objects, each list with its length before it.

What is sent within one turn of the event loop goes as one list. Each side lets the other hear from it now and then, and
takes one that says nothing for too long for gone: a cut cable says nothing either.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from scheduler.types import Seconds

HEAD = 4
"""Bytes of a length."""
LONGEST = 64 * 1024 * 1024
BEATS = 5
"""In the time after which the other side is taken for gone."""

Item = Mapping[str, Any]
logger = logging.getLogger(__name__)


class Channel(asyncio.Protocol):
    """One end of a connection. `heard` and `lost` are called from the event loop; after `lost` nothing is heard."""

    def __init__(
        self, patience: Seconds, heard: Callable[[Channel, Item], None], lost: Callable[[Channel], None]
    ) -> None:
        """`patience`: how long the other side may say nothing."""
        self._patience = patience
        self._heard = heard
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._batch: list[Item] = []
        self._latest = self._loop.time()
        self._beat: asyncio.TimerHandle | None = None

    def send(self, item: Item) -> None:
        """Sends an object soon. What is sent to one that is gone is lost."""
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append(item)

    def close(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not derived from it
        self._keep_alive()

    def data_received(self, data: bytes) -> None:
        """Takes what comes, in whatever pieces."""
        self._latest = self._loop.time()
        buffer = self._buffer
        buffer += data
        while len(buffer) >= HEAD:
            size = int.from_bytes(buffer[:HEAD], "big")
            if size > LONGEST:
                self._broken(f"a message of {size} bytes")
                return
            if len(buffer) < HEAD + size:
                return
            message = bytes(buffer[HEAD : HEAD + size])
            del buffer[: HEAD + size]
            try:
                for item in json.loads(message):
                    self._heard(self, item)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                self._broken(repr(error), error)
                return

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if self._beat is not None:
            self._beat.cancel()
        self._lost(self)

    def _broken(self, what: str, error: Exception | None = None) -> None:
        logger.error("what came by the channel between gateways cannot be used: %s", what, exc_info=error)
        self.close()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if self._transport is not None and not self._transport.is_closing():
            data = json.dumps(batch, separators=(",", ":")).encode()
            self._transport.write(len(data).to_bytes(HEAD, "big") + data)

    def _keep_alive(self) -> None:
        if self._loop.time() - self._latest > self._patience:
            self.close()
            return
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._beat = self._loop.call_later(self._patience / BEATS, self._keep_alive)
