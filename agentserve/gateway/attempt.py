"""One attempt at a call: the exchange with the engine it was dispatched to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from agentserve.config import Limits
from agentserve.engines.base import Engine, EngineError, Reply, Room, Take
from agentserve.gateway.answer import BadAnswerError
from agentserve.gateway.driver import Driver, Ticket
from agentserve.gateway.exchange import whole_body
from agentserve.gateway.faults.watchdog import Watchdog
from agentserve.gateway.interrupt import CallInterruptedError, Cause
from agentserve.gateway.request import Request
from agentserve.gateway.stream import StreamReader
from scheduler.events import FailureReason
from scheduler.types import Tokens, Usage

PassOn = Take
"""Takes a piece of a stream for the client."""

Named = Callable[[str, Tokens], None]
"""Takes the id of an answer that later calls may refer to, and its length, before the client can know it."""


class AttemptFailedError(Exception):
    """The engine did not answer the call as it should. The message tells the client what happened."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer that came in one piece and goes to the client in one."""

    status: int
    content_type: str
    body: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Its body's kind and length."""
        return [
            (b"content-type", self.content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(self.body)),
        ]


class Attempt:
    """The exchange of one request with one engine."""

    def __init__(
        self, driver: Driver, limits: Limits, ticket: Ticket, engine: Engine, request: Request, named: Named
    ) -> None:
        self._limits = limits
        self._driver = driver
        self._ticket = ticket
        self._engine = engine
        self._request = request
        self._named = named

    async def run(self, headers: dict[str, str], body: bytes, pass_on: PassOn) -> WholeAnswer | None:
        """Returns the engine's answer (or refusal), or None once it has passed all of a stream on.

        Raises:
            AttemptFailedError: the engine failed, before or after something was passed on.
        """
        try:
            async with self._ticket.attempt:
                return await self._exchange(headers, body, pass_on)
        except EngineError as error:
            raise AttemptFailedError(FailureReason.ENGINE_LOST, str(error)) from error
        except BadAnswerError as error:
            raise self._failed(FailureReason.BAD_ANSWER, str(error)) from error
        except CallInterruptedError as interruption:
            lost = interruption.cause is Cause.LOST
            reason = FailureReason.ENGINE_LOST if lost else FailureReason.TIMEOUT
            raise self._failed(reason, interruption.cause.value) from None

    async def _exchange(self, headers: dict[str, str], body: bytes, pass_on: PassOn) -> WholeAnswer | None:
        self._driver.sent(self._ticket)
        watchdog = Watchdog(self._ticket.attempt)
        try:
            if self._request.stream:
                watchdog.expect(self._limits.first_byte, Cause.UNHEARD)
            async with aclosing(await self._engine.open(self._request.path, headers, body)) as reply:
                if reply.status == 200 and self._request.stream:
                    await self._relay(reply, pass_on, watchdog)
                    return None
                return await self._read(reply)
        finally:
            watchdog.close()

    async def _read(self, reply: Reply) -> WholeAnswer:
        body = await whole_body(reply, self._limits.answer_bytes)
        if reply.status == 200:
            answer = self._request.protocol.answer(body)
            self._note(answer.response, answer.usage)
            self._driver.finished(self._ticket, answer.usage, answer.tools)
        elif 400 <= reply.status < 500:
            self._driver.failed(self._ticket, FailureReason.REFUSED)
            return WholeAnswer(
                reply.status, JSON_TYPE, self._request.protocol.refusal(reply.status, body, self._request.path)
            )
        else:
            said = body[:200].decode(errors="replace")
            raise self._failed(FailureReason.ENGINE_ERROR, f"it answered with status {reply.status}: {said}")
        return WholeAnswer(reply.status, reply.headers.get("content-type", JSON_TYPE), body)

    async def _relay(self, reply: Reply, pass_on: PassOn, watchdog: Watchdog) -> None:
        reader = self._request.protocol.reader(self._request.wants_usage, reads_text=not self._request.has_tools)
        progress = _Progress(self._driver, self._ticket)
        relayed = False

        def take(chunk: bytes) -> Room | None:
            nonlocal relayed
            data = reader.feed(chunk)
            if reader.error and not relayed and reader.error_status >= 500:
                raise self._failed(FailureReason.ENGINE_ERROR, reader.error)
            progress.note(reader)
            if reader.done:
                self._note(reader.response, reader.usage)
            watchdog.expect(self._limits.idle, Cause.SILENT)
            if not data:
                return None
            relayed = True
            room = pass_on(data)
            return None if room is None else unwatched(room)

        def unwatched(room: Room) -> Room:
            """While the client has no room, nobody expects anything of the engine."""

            async def wait() -> None:
                watchdog.rest()
                await room()
                watchdog.expect(self._limits.idle, Cause.SILENT)

            return wait

        await reply.relay(take)
        self._conclude(reader)

    def _conclude(self, reader: StreamReader) -> None:
        if reader.error:
            refused = reader.error_status < 500
            self._driver.failed(self._ticket, FailureReason.REFUSED if refused else FailureReason.ENGINE_ERROR)
        elif reader.done:
            self._driver.finished(self._ticket, reader.usage, reader.tools)
        else:
            raise self._failed(FailureReason.ENGINE_LOST, "it ended its stream before the answer was complete")

    def _note(self, response: str, usage: Usage | None) -> None:
        if response:
            self._named(response, usage.output if usage else 0)

    def _failed(self, reason: FailureReason, what: str) -> AttemptFailedError:
        return AttemptFailedError(reason, f"engine {self._engine.name}: {what}")


class _Progress:
    """Tells the brain how far a stream has come when that is news to it."""

    def __init__(self, driver: Driver, ticket: Ticket) -> None:
        self._driver = driver
        self._ticket = ticket
        self._expected: Tokens = 0 if ticket.dispatch is None else ticket.dispatch.expected

    def note(self, reader: StreamReader) -> None:
        """Looks at the reader after each chunk."""
        if not reader.started:
            return
        ticket = self._ticket
        if not ticket.output:
            self._driver.first_token(ticket)
        ticket.output = max(reader.tokens, 1)
        if ticket.output > self._expected:
            self._driver.progressed(ticket)
            self._expected = 2 * ticket.output
