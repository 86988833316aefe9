"""A way from a gateway to the store that can be cut: a TCP proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum

CHUNK = 65536


class Cut(StrEnum):
    """How a way is not there."""

    NO = "no"
    REFUSED = "refused"
    """Connections break, and new ones are not taken."""
    SILENT = "silent"
    """Nothing arrives on either side, and nobody is told: a firewall that drops packets."""


class Cable:
    """Listens on `port`, and passes what comes to the server's port and back."""

    def __init__(self, server: int) -> None:
        self.cut = Cut.NO
        self._server = server
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port: int = self._listening.sockets[0].getsockname()[1]

    def change(self, cut: Cut) -> None:
        """Cuts it, or mends it. What was swallowed meanwhile is not sent later: connections of that time break."""
        self.cut = cut
        if cut is not Cut.SILENT:
            self._loop.call_soon_threadsafe(self._break)

    def close(self) -> None:
        """Ends the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._listening.close()
        self._break()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _break(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut is Cut.REFUSED:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._open |= ends
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._open -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self.cut is not Cut.SILENT:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()
