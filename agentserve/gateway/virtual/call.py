"""A client's call of a virtual model: runs the steps that its procedure wants, and answers with what it concludes."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from dataclasses import replace
from typing import Any, NamedTuple

from starlette.types import Receive, Send

from agentserve.config import Limits
from agentserve.gateway.call import KEEP_ALIVE, STREAM_HEADERS
from agentserve.gateway.driver import Driver
from agentserve.gateway.errors import ApiError, too_late
from agentserve.gateway.hints import BODY_HINT, HINT_NAMES
from agentserve.gateway.identity import Identity
from agentserve.gateway.ids import Headers
from agentserve.gateway.prompt import in_pieces
from agentserve.gateway.protocols.openai_chat import Chat
from agentserve.gateway.request import Request, parse_request
from agentserve.gateway.sources import Source
from agentserve.gateway.tenants.tenant import Passage
from agentserve.gateway.virtual.model import VirtualModel
from agentserve.gateway.virtual.scoring import Way
from agentserve.gateway.virtual.step import StepFailedError, run_step
from agentserve.gateway.virtual.wording import (
    Segment,
    confidence,
    judgement,
    judgement_body,
    read_segment,
    tail_body,
    tail_score,
    writing_body,
    written,
)
from scheduler.actions import Answer, Submit
from scheduler.events import ProcedureBegun, ProcedureCancelled, StepEnded, StepFailed
from scheduler.procedures.base import Conclude, News, ProcedureSpec, Stage, Verdict
from scheduler.types import CallId, Seconds, Tokens

UNSUPPORTED = ("tools", "functions", "response_format", "audio")
logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """What one step has written."""

    text: str
    tokens: Tokens


class VirtualCall:
    """One chat completion."""

    def __init__(
        self,
        driver: Driver,
        limits: Limits,
        passage: Passage,
        model: VirtualModel,
        request: Request,
        identity: Identity,
        headers: Headers,
    ) -> None:
        """Checks the request.

        Raises:
            ApiError: 400, it asks for what a virtual model cannot do.
        """
        self._driver = driver
        self._limits = limits
        self._passage = passage
        self._model = model
        self._asked: dict[str, Any] = request.body.fields
        self._stream = request.stream
        self._wants_usage = request.wants_usage
        self._identity = identity
        self._due: Seconds | None = None if identity.deadline is None else driver.now() + identity.deadline
        self._headers = headers
        self._spec = self._check()
        self._name = f"virtual-{secrets.token_hex(8)}"
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._pieces: dict[int, list[Piece]] = {}
        """What each sample has written."""
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._failure = ApiError(503, f"virtual model {model.name!r} failed", code="procedure_failed")
        """What a step failed of last."""
        self._ended = 0
        self._conclusion: asyncio.Future[Conclude | ApiError] = asyncio.get_running_loop().create_future()

    def _check(self) -> ProcedureSpec:
        for name in UNSUPPORTED:
            if self._asked.get(name):
                raise ApiError(400, f"virtual model {self._model.name!r} takes no {name}", param=name)
        if self._asked.get("n") not in (None, 1):
            raise ApiError(400, "a virtual model gives one answer: n must be 1", param="n", code="invalid_value")
        seed = self._asked.get("seed")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ApiError(400, "seed must be a whole number", param="seed", code="invalid_value")
        overrides = self._asked.get(BODY_HINT)
        if isinstance(overrides, dict):
            overrides = {name: value for name, value in overrides.items() if name not in HINT_NAMES}
        return self._model.asked(overrides)

    async def run(self, receive: Receive, send: Send) -> None:
        """Serves it to its end. A client that leaves takes all steps with it.

        Raises:
            ApiError: there is no answer, and nothing has been sent.
        """
        self._driver.perform(self._name, self)
        answering = asyncio.create_task(self._answer(send))
        leaving = asyncio.create_task(_left(receive))
        clock = asyncio.get_running_loop().call_later(self._limits.total, self._late)
        try:
            self._driver.handle(
                ProcedureBegun(
                    self._driver.now(), self._name, self._identity.program, self._spec, self._identity.workflow
                )
            )
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            clock.cancel()
            self._cancel()
            leaving.cancel()
            answering.cancel()
            self._driver.performed(self._name)
            await asyncio.gather(answering, leaving, *self._tasks.values(), return_exceptions=True)
        if not answering.cancelled():
            answering.result()

    def _cancel(self) -> None:
        """Nothing more is wanted of the procedure, if it is not over."""
        if not self._conclusion.done():
            self._driver.handle(ProcedureCancelled(self._driver.now(), self._name))

    def _late(self) -> None:
        if not self._conclusion.done():
            self._cancel()
            self._conclusion.set_result(too_late(self._limits.total))

    # --- the procedure's side ---------------------------------------------------------------------------------------

    def submit(self, action: Submit) -> None:
        """Begins a step."""
        self._tasks[action.call] = asyncio.create_task(self._step(action))

    def abort(self, call: CallId) -> None:
        """A step is not wanted any more."""
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()

    def conclude(self, action: Answer) -> None:
        """The procedure is over."""
        conclusion = action.conclusion
        self._driver.metrics.saved_tokens.labels(self._model.name).inc(conclusion.saved)
        self._conclusion.set_result(self._failure if conclusion.verdict is Verdict.FAILED else conclusion)

    async def _step(self, action: Submit) -> None:
        try:
            news = await (self._verify if action.step.stage is Stage.VERIFY else self._write)(action)
        except StepFailedError as error:
            self._fail(action, str(error), error.status)
        except ValueError as error:
            self._fail(action, str(error))
        except Exception:
            logger.exception("step %s of model %s broke the gateway", action.step, self._model.name)
            self._fail(action, "the gateway made an error; its log says which")
        else:
            self._driver.handle(StepEnded(self._driver.now(), action.call, news))
        finally:
            self._tasks.pop(action.call, None)

    def _fail(self, action: Submit, why: str, status: int = 503) -> None:
        """The step has failed. What an engine refuses is the client's mistake."""
        logger.warning("step %s of model %s failed: %s", action.step, self._model.name, why)
        status = status if 400 <= status < 500 else 503
        message = f"virtual model {self._model.name!r} failed: {why}"
        self._failure = ApiError(status, message, code="procedure_failed")
        self._driver.handle(StepFailed(self._driver.now(), action.call))

    async def _write(self, action: Submit) -> News:
        sample = action.step.sample
        segment = await self._exchange(action, writing_body(action, self._asked, self._text(sample)))
        sure = confidence(segment)
        self._pieces.setdefault(sample, []).append(Piece(segment.text, segment.output_tokens))
        return News(segment.output_tokens, segment.ended, self._model.extraction.find(self._text(sample)), None, sure)

    async def _verify(self, action: Submit) -> News:
        text, latest = self._text(action.step.sample), self._pieces[action.step.sample][-1]
        messages = self._asked["messages"]
        if self._model.scoring.way(action.model) is Way.TAIL:
            answer = await self._exchange(action, tail_body(action.model, messages, text, latest.tokens))
            score = tail_score(answer, latest.text)
        else:
            answer = await self._exchange(action, judgement_body(action.model, written(messages, text)))
            score = judgement(answer)
        if score is None:
            raise StepFailedError("the target reports no log-probabilities")
        return News(answer.output_tokens, score=score)

    def _text(self, sample: int) -> str:
        return "".join(piece.text for piece in self._pieces.get(sample, ()))

    async def _exchange(self, action: Submit, body: bytes) -> Segment:
        name, headers = action.call, self._headers
        request, identity = self._request(action, body), self._identity_of(action)
        data = await run_step(self._driver, self._limits, self._passage, request, identity, headers, name)
        segment = read_segment(data)
        self._ended += 1
        self._prompt_tokens += segment.prompt_tokens
        self._output_tokens += segment.output_tokens
        return segment

    def _request(self, action: Submit, body: bytes) -> Request:
        """A step's, which is known to go on where the last one of its sample ended."""
        request = parse_request(Chat.path, body, self._passage.salt)
        pieces = (piece.text for piece in self._pieces.get(action.step.sample, ()))
        return replace(request, prompt=in_pieces(request.prompt, len(self._asked["messages"]), pieces))

    def _identity_of(self, action: Submit) -> Identity:
        """A step's: its sample's program, and as urgent as the client's call."""
        return Identity(
            program=action.program,
            source=Source.HEADER,
            parent=action.parent,
            workflow=f"{action.workflow}/{action.model}",
            stage=action.step.stage.value,
            deadline=None if self._due is None else self._due - self._driver.now(),
            final=False,
            priority=self._identity.priority,
        )

    # --- the client's side ------------------------------------------------------------------------------------------

    async def _answer(self, send: Send) -> None:
        """Raises `ApiError` if there is no answer, and nothing has been sent."""
        if self._stream:
            await self._send_stream(send)
            return
        conclusion = await self._conclusion
        if isinstance(conclusion, ApiError):
            raise conclusion
        body = json.dumps(self._completion(conclusion)).encode()
        await _send(send, [(b"content-type", b"application/json"), *self._own_headers(conclusion)], body)

    async def _send_stream(self, send: Send) -> None:
        """Comments tell how far it is; then comes the answer in one piece."""
        headers = [*STREAM_HEADERS, *self._own_headers(None)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not self._conclusion.done():
            note = f": {self._spec.samples} samples, {self._ended} steps done, {self._output_tokens} tokens\n\n"
            await send({"type": "http.response.body", "body": note.encode(), "more_body": True})
            await asyncio.wait([self._conclusion], timeout=KEEP_ALIVE)
        events = self._events(self._conclusion.result())
        data = b"".join(b"data: %b\n\n" % event for event in [*events, b"[DONE]"])
        await send({"type": "http.response.body", "body": data, "more_body": False})

    def _events(self, conclusion: Conclude | ApiError) -> list[bytes]:
        if isinstance(conclusion, ApiError):
            self._driver.metrics.errors.labels(str(conclusion.status)).inc()
            return [conclusion.body()]
        whole = self._completion(conclusion) | {"object": "chat.completion.chunk"}
        usage = whole.pop("usage")
        message = whole["choices"][0].pop("message")
        whole["choices"][0]["delta"] = message
        events = [whole]
        if self._wants_usage:
            events.append(whole | {"choices": [], "usage": usage})
        return [json.dumps(event).encode() for event in events]

    def _completion(self, conclusion: Conclude) -> dict[str, Any]:
        """The text of the sample whose answer won; without any answer, of the first sample that wrote something."""
        author = conclusion.sample if conclusion.sample is not None else min(self._pieces)
        found = {
            "answer": conclusion.answer or None,
            "verdict": conclusion.verdict.value,
            "votes": conclusion.votes,
            "voters": conclusion.voters,
            "degraded": conclusion.degraded,
            "saved_tokens": conclusion.saved,
        }
        message = {"role": "assistant", "content": self._text(author)}
        return {
            "id": f"chatcmpl-{self._name}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model.name,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop" if conclusion.answer else "length"}],
            "usage": {
                "prompt_tokens": self._prompt_tokens,
                "completion_tokens": self._output_tokens,
                "total_tokens": self._prompt_tokens + self._output_tokens,
            },
            "agentserve": found,
        }

    def _own_headers(self, conclusion: Conclude | None) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-agentserve-program", self._identity.program.program.encode())]
        if conclusion is not None and conclusion.degraded:
            headers.append((b"x-agentserve-warning", b"target failed; the draft went on alone"))
        return headers


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
