"""One call's life in the gateway: it waits for its dispatch, goes to an engine, and its answer to the client."""

from __future__ import annotations

import asyncio
import logging
import secrets

from starlette.types import Receive, Send

from agentserve.config import Limits
from agentserve.engines.base import Room
from agentserve.gateway.attempt import Attempt, AttemptFailedError, WholeAnswer
from agentserve.gateway.calllines import log_prompt
from agentserve.gateway.chain import Chain
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError, rejected, too_late, too_many_retries
from agentserve.gateway.identity import Identity
from agentserve.gateway.ids import Headers
from agentserve.gateway.interrupt import CallInterruptedError, Cause
from agentserve.gateway.outbox import Outbox
from agentserve.gateway.request import Request
from agentserve.gateway.tenants.tenant import Passage
from agentserve.gateway.upstream import engine_body, engine_headers
from scheduler.actions import Dispatch, Reject
from scheduler.events import CallArrived, FailureReason
from scheduler.types import CallId, EngineId, Seconds, Tokens

KEEP_ALIVE: Seconds = 10.0
"""Between two keep-alives of a stream that has nothing to say yet."""

UNWATCHED: Seconds = 0.02
"""A call that takes no longer is over before it could be seen that its client left."""

logger = logging.getLogger(__name__)

RawHeaders = list[tuple[bytes, bytes]]

STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
"""Of every stream."""


class Call:
    """A request that has been identified, and its client."""

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        passage: Passage,
        request: Request,
        identity: Identity,
        headers: Headers,
        chain: Chain,
        send: Send,
        name: CallId | None = None,
    ) -> None:
        """`name` is that of a call which the brain asked for itself."""
        self._chain = chain
        self._driver = driver
        self._limits = limits
        self._passage = passage
        self._request = request
        self._identity = identity
        self._headers = headers
        self._name = name or CallId(secrets.token_hex(12))
        self._ticket = driver.arrive(self._arrival(), headers.get(b"traceparent", b"").decode("latin-1"))
        log_prompt(self._name, request.body.text)
        self._outbox = Outbox(send, limits.buffer_bytes, limits.stall, self._ticket.whole.end)
        self._timer: asyncio.TimerHandle | None = None
        self._clock: asyncio.TimerHandle
        """When the client is watched from; then, when the call is too late."""
        self._watcher: asyncio.Task[None] | None = None
        self._relayed = False
        """Some of an engine's answer is on its way to the client: no other engine can take the call."""
        self._last_failure = ""
        self._failures = 0

    @property
    def engine(self) -> EngineId | None:
        """Where it was sent; None while it waits."""
        return None if self._ticket.dispatch is None else self._ticket.dispatch.engine

    def end(self, cause: Cause) -> None:
        """Ends it from outside, if it runs."""
        self._ticket.whole.end(cause)

    async def run(self, receive: Receive) -> None:
        """Serves the call to its end, whatever that is."""
        self._clock = asyncio.get_running_loop().call_later(UNWATCHED, self._begin_watch, receive)
        try:
            async with self._ticket.whole:
                await self._serve()
        except CallInterruptedError as interruption:
            await self._interrupted(interruption.cause)
        except ApiError as error:
            await self._answer_error(error)
        except Exception:
            logger.exception("call %s of program %s broke the gateway", self._ticket.call, self._identity.program)
            await self._answer_error(ApiError(500, "the gateway made an error; its log says which"))
        finally:
            self._clock.cancel()
            if self._watcher is not None:
                self._watcher.cancel()
            self._stop_holding()
            self._outbox.close()
            self._driver.cancelled(self._ticket)

    def _arrival(self) -> CallArrived:
        request, identity, now = self._request, self._identity, self._driver.now()
        due = self._driver.due(identity.program, identity.workflow, now)
        return CallArrived(
            at=now,
            call=self._name,
            program=identity.program,
            model=request.model,
            prompt_bytes=request.prompt.end.size,
            prefix=request.prompt.marks,
            prompt_tokens=request.prompt.tokens,
            max_output=request.max_output,
            deadline=due if identity.deadline is None else now + identity.deadline,
            parent=identity.parent,
            workflow=identity.workflow,
            stage=identity.stage,
            final=identity.final,
            priority=identity.priority,
            expected_output=identity.expected_output,
            remaining_calls=identity.remaining_calls,
            siblings=identity.siblings,
            join=identity.join,
            streams=request.stream,
            stops=request.stops,
        )

    def _begin_watch(self, receive: Receive) -> None:
        left = self._limits.total - UNWATCHED
        self._clock = asyncio.get_running_loop().call_later(left, self._ticket.whole.end, Cause.LATE)
        self._watcher = asyncio.create_task(self._watch_client(receive))

    async def _watch_client(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._ticket.whole.end(Cause.GONE)

    async def _interrupted(self, cause: Cause) -> None:
        if cause is Cause.STALLED:
            self._driver.failed(self._ticket, FailureReason.STALLED)
        elif cause is Cause.LATE:
            self._driver.failed(self._ticket, FailureReason.TIMEOUT)
            await self._answer_error(too_late(self._limits.total))
        elif cause is Cause.CUT:
            self._driver.cancelled(self._ticket, "cut")
            await self._outbox.end()
        elif cause is Cause.ABORTED:
            self._driver.cancelled(self._ticket, "aborted")
            await self._answer_error(ApiError(503, cause.value, code="aborted"))

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        if self._request.stream:
            self._timer = asyncio.get_running_loop().call_later(self._limits.first_byte_hold, self._hold)
        answer, dispatch = await self._answered()
        self._stop_holding()
        if answer is not None:
            self._put_whole(answer, dispatch)
        await self._outbox.end()

    async def _answered(self) -> tuple[WholeAnswer | None, Dispatch]:
        """Tries the engines that the brain chooses until one answers; None if it was relayed as a stream."""
        while True:
            decision = await self._ticket.decision()
            if isinstance(decision, Reject):
                raise rejected(decision, self._last_failure)
            try:
                return await self._attempt(decision), decision
            except AttemptFailedError as failure:
                if self._relayed:
                    self._driver.failed(self._ticket, failure.reason)
                    raise ApiError(502, str(failure), code=failure.reason.value) from None
                self._last_failure = str(failure)
                await self._before_retry(failure)
                self._driver.dispatch_failed(self._ticket, decision.engine, failure.reason)

    async def _before_retry(self, failure: AttemptFailedError) -> None:
        """Raises `ApiError` if too many calls have been tried again lately."""
        self._failures += 1
        if not self._driver.retries.take(self._driver.now()):
            self._driver.failed(self._ticket, failure.reason)
            raise too_many_retries(str(failure))
        await asyncio.sleep(self._driver.retries.pause(self._failures))

    def _hold(self) -> None:
        """Keeps the connection of a waiting stream alive."""
        if not self._outbox.open:
            self._outbox.start(200, self._stream_headers(None))
        self._outbox.put(self._request.protocol.keep_alive)
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._hold)

    def _stop_holding(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _attempt(self, dispatch: Dispatch) -> WholeAnswer | None:
        engine = self._driver.engines.get(dispatch.engine)
        if engine is None:
            raise AttemptFailedError(FailureReason.ENGINE_LOST, f"engine {dispatch.engine} is down")
        spec = self._driver.specs[engine.name]
        body = engine_body(self._request, self._identity.program, dispatch, spec, self._passage)
        headers = engine_headers(self._request, self._headers, self._ticket.call, dispatch, spec, self._passage)
        attempt = Attempt(self._driver, self._limits, self._ticket, engine, self._request, self._named)
        answer = await attempt.run(headers, body, self._pass_on)
        if self._driver.latest is not None:
            self._driver.latest(self._identity.program, self._request.path, headers, body)
        return answer

    def _named(self, response: str, output: Tokens) -> None:
        self._chain.remember(response, self._identity.program, self._request.prompt, output)

    def _pass_on(self, data: bytes) -> Room | None:
        if not self._relayed:
            self._relayed = True
            self._stop_holding()
            if not self._outbox.open:
                self._outbox.start(200, self._stream_headers(self._ticket.dispatch))
        self._outbox.put(data)
        return self._outbox.room if self._outbox.full else None

    # --- the client -------------------------------------------------------------------------------------------------

    def _put_whole(self, answer: WholeAnswer, dispatch: Dispatch | None, headers: RawHeaders | None = None) -> None:
        if self._outbox.open:
            self._outbox.put(self._request.protocol.error_events(answer.body))
            return
        whole = [*answer.headers, *self._own_headers(dispatch), *(headers or ())]
        self._outbox.put_whole(answer.status, whole, answer.body)

    async def _answer_error(self, error: ApiError) -> None:
        self._driver.metrics.errors.labels(str(error.status)).inc()
        answer = WholeAnswer(error.status, "application/json", self._request.protocol.error(error))
        self._put_whole(answer, self._ticket.dispatch, error.headers)
        await self._outbox.end()

    def _stream_headers(self, dispatch: Dispatch | None) -> RawHeaders:
        return [*STREAM_HEADERS, *self._own_headers(dispatch)]

    def _own_headers(self, dispatch: Dispatch | None) -> RawHeaders:
        headers = [
            (b"x-agentserve-program", self._identity.program.program.encode()),
            (b"x-agentserve-call", self._name.encode()),
        ]
        if dispatch is not None:
            engine, waited, why = dispatch.engine, int(dispatch.waited * 1000), dispatch.why.value
            headers += [
                (b"x-agentserve-engine", engine.encode()),
                (b"x-agentserve-queue-ms", b"%d" % waited),
                (b"x-agentserve-why", why.encode()),
                (b"x-agentserve-decision", f"engine={engine}; wait={waited}ms; why={why}".encode()),
            ]
        return headers
