"""The HTTP routes of the emulated engine: vLLM's, as far as the gateway and its tests use them, and the plugin's."""

from __future__ import annotations

import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agentserve.engines.emulation import answers, likelihood
from agentserve.engines.emulation.answers import Answer
from agentserve.engines.emulation.bodies import (
    ChatBody,
    CompletionBody,
    CountBody,
    DetokenizeBody,
    GenerationBody,
    MessagesBody,
    ResponsesBody,
    TokenizeBody,
    TokenizeChatBody,
)
from agentserve.engines.emulation.clock import EngineClock
from agentserve.engines.emulation.exchange import StreamedExchange, WholeExchange
from agentserve.engines.emulation.faults import Fault, Garbage, ServerError
from agentserve.engines.emulation.pins import PinRoutes
from agentserve.engines.emulation.text import TOKEN_BYTES, extents
from agentserve.engines.emulation.transfer import TransferRoutes
from agentserve.engines.emulation.wires.base import Json, Wire
from agentserve.engines.emulation.wires.completions import ChatWire, CompletionWire
from agentserve.engines.emulation.wires.messages import MessagesWire
from agentserve.engines.emulation.wires.responses import ResponsesWire
from agentserve.vllm_plugin.ticket import BadValueError, Ticket, parse_tail, parse_ticket
from agentserve.vllm_plugin.weights import BadWeightsError, parse_weights
from scheduler.types import Tokens
from simulator.engine import EngineConfig
from simulator.request import Request as Call

OWNER = "agentserve-emulated"
MAX_RESPONSES = 1024
"""Responses whose contexts are kept for those that follow them."""
DEFAULT_OUTPUT = 64
"""Output tokens of a request that asks for no number."""

_Body = TypeVar("_Body", bound=BaseModel)


class _RefusedError(Exception):
    """A request that is answered with an error, in vLLM's shape."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"error": {"message": message, "type": kind, "param": param, "code": status}}

    def as_anthropic(self) -> _RefusedError:
        """The same in Anthropic's shape, as vLLM gives what it finds wrong after it has read a message's body."""
        error = self.error["error"]
        if isinstance(error, dict):
            self.error = {"type": "error", "error": {"type": error["type"], "message": error["message"]}}
        return self


class EmulatedApp:
    """The routes around one engine model."""

    def __init__(self, model: str, clock: EngineClock, fault: Callable[[], Fault | None]) -> None:
        self._model = model
        self._clock = clock
        self._engine = clock.engine
        self._fault = fault
        self._pins = PinRoutes(clock)
        self._weights = 0
        """The version of the weights that it pretends to have: with others it writes other words."""
        self._responses: OrderedDict[str, list[bytes]] = OrderedDict()
        """The contexts that responses ended with, by id."""
        self.asgi = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/version", self._version),
                Route("/metrics", self._metrics),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/detokenize", self._detokenize, methods=["POST"]),
                Route("/agentserve/v1/weights", self._load_weights, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/responses", self._respond, methods=["POST"]),
                Route("/v1/messages", self._message, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
                *self._pins.routes,
                *TransferRoutes().routes,
            ],
            exception_handlers={_RefusedError: _refuse},
        )

    @property
    def _config(self) -> EngineConfig:
        return self._engine.config

    async def _health(self, request: Request) -> Response:
        return Response()

    async def _version(self, request: Request) -> Response:
        return JSONResponse({"version": "emulated"})

    async def _models(self, request: Request) -> Response:
        card = {
            "id": self._model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": OWNER,
            "root": self._model,
            "parent": None,
            "max_model_len": self._config.max_model_len,
            "permission": [],
        }
        return JSONResponse({"object": "list", "data": [card]})

    async def _metrics(self, request: Request) -> Response:
        label = f'engine="0",model_name="{self._model}"'
        # vLLM counts the one block it keeps for itself
        cache = f'block_size="{self._config.block_size}",engine="0",num_gpu_blocks="{self._config.num_blocks + 1}"'
        lines = [
            f"vllm:num_requests_running{{{label}}} {self._engine.running}",
            f"vllm:num_requests_waiting{{{label}}} {self._engine.waiting}",
            f"vllm:kv_cache_usage_perc{{{label}}} {self._engine.usage}",
            f"vllm:cache_config_info{{{cache}}} 1",
        ]
        typed = (f"# TYPE {line.partition('{')[0]} gauge\n{line}\n" for line in lines)
        return PlainTextResponse("".join(typed), media_type="text/plain; version=0.0.4")

    async def _tokenize(self, request: Request) -> Response:
        is_chat = b'"messages"' in await request.body()
        body = await _read(request, TokenizeChatBody) if is_chat else await _read(request, TokenizeBody)
        tokens = [int.from_bytes(token) for token in body.cut()]
        return JSONResponse({"count": len(tokens), "max_model_len": self._config.max_model_len, "tokens": tokens})

    async def _detokenize(self, request: Request) -> Response:
        body = await _read(request, DetokenizeBody)
        text = b"".join(token.to_bytes(TOKEN_BYTES).lstrip(b"\0") for token in body.tokens)
        return JSONResponse({"prompt": text.decode(errors="replace")})

    async def _chat(self, request: Request) -> Response:
        body = await _read(request, ChatBody)
        prompt = body.tokens()
        answer = self._answer(body, prompt, body.required_tool)
        told = (
            likelihood.of_answer(answer.pieces, self._seed(body, prompt), body.top_logprobs) if body.logprobs else None
        )
        scored = None if body.prompt_logprobs is None else likelihood.of_prompt(prompt, self._tail(body))
        wire = ChatWire(self._model, answer, include_usage=body.include_usage, told=told, scored=scored)
        return self._exchange(body, prompt, answer, wire, body.priority)

    async def _load_weights(self, request: Request) -> Response:
        try:
            order = parse_weights(await request.body())
        except BadWeightsError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        if unfinished := self._engine.running + self._engine.waiting:
            return JSONResponse({"busy": unfinished}, status_code=409)
        self._weights = order.version
        return JSONResponse({"version": order.version})

    async def _complete(self, request: Request) -> Response:
        body = await _read(request, CompletionBody)
        prompt = body.tokens()
        answer = self._answer(body, prompt, None)
        told = None if body.logprobs is None else likelihood.of_answer(answer.pieces, self._seed(body, prompt), 0)
        ids = [int.from_bytes(token) for token in prompt] if body.return_token_ids else None
        wire = CompletionWire(self._model, answer, include_usage=body.include_usage, told=told, prompt=ids)
        return self._exchange(body, prompt, answer, wire, body.priority)

    async def _respond(self, request: Request) -> Response:
        body = await _read(request, ResponsesBody)
        prompt = [*self._before(body.previous_response_id), *body.tokens()]
        answer = self._answer(body, prompt, body.required_tool)
        wire = ResponsesWire(self._model, answer, body.previous_response_id)
        self._responses[wire.id] = [*prompt, *answer.tokens]
        if len(self._responses) > MAX_RESPONSES:
            self._responses.popitem(last=False)
        return self._exchange(body, prompt, answer, wire, body.priority)

    async def _message(self, request: Request) -> Response:
        body = await _read(request, MessagesBody)
        try:
            prompt = body.tokens()
            answer = self._answer(body, prompt, body.required_tool)
            priority = _priority(request)
            return self._exchange(body, prompt, answer, MessagesWire(self._model, answer), priority)
        except _RefusedError as error:
            raise error.as_anthropic() from None

    async def _count(self, request: Request) -> Response:
        count = len((await _read(request, CountBody)).tokens())
        return JSONResponse({"input_tokens": count, "context_management": {"original_input_tokens": count}})

    def _before(self, response: str | None) -> list[bytes]:
        if response is None:
            return []
        if response not in self._responses:
            message = f"Response with id '{response}' not found."
            raise _RefusedError(404, "invalid_request_error", message, "response_id")
        return self._responses[response]

    def _answer(self, body: GenerationBody, prompt: list[bytes], tool: str | None) -> Answer:
        count, seed = self._output(body, prompt), self._seed(body, prompt)
        return answers.words(count, seed) if tool is None else answers.call(tool, count, seed)

    def _seed(self, body: GenerationBody, prompt: list[bytes]) -> str:
        return f"{body.seed} {extents(prompt, len(prompt), self._weights)}"

    def _output(self, body: GenerationBody, prompt: list[bytes]) -> Tokens:
        """How many tokens to answer."""
        if body.model and body.model != self._model:
            raise _RefusedError(404, "NotFoundError", f"The model `{body.model}` does not exist.", "model")
        if not prompt:
            raise _RefusedError(400, "BadRequestError", "The prompt is empty.", "prompt")
        count = body.output_limit or max(1, min(DEFAULT_OUTPUT, self._config.max_model_len - len(prompt)))
        self._check_length(len(prompt), count)
        return count

    def _check_length(self, prompt: Tokens, output: Tokens) -> None:
        """Refuses what the context has no room for."""
        limit = self._config.max_model_len
        if prompt + output > limit:
            raise _RefusedError(
                400,
                "BadRequestError",
                f"This model's maximum context length is {limit} tokens. However, you requested {output} output "
                f"tokens and your prompt contains {prompt} input tokens, for a total of {prompt + output} tokens. "
                "Please reduce the length of the input prompt or the number of requested output tokens.",
                "input_tokens",
            )

    def _exchange(
        self, body: GenerationBody, prompt: list[bytes], answer: Answer, wire: Wire, priority: int
    ) -> Response:
        fault = self._fault()
        if isinstance(fault, ServerError):
            raise _RefusedError(500, "InternalServerError", "This engine was told to fail.")
        if isinstance(fault, Garbage):
            return Response(b"\x00\xff{not: json\n\ndata {", media_type="application/json")
        outputs = self._clock.outputs(self._call(body, prompt, answer, priority))
        exchange = StreamedExchange if body.stream else WholeExchange
        return exchange(wire, len(prompt), outputs, fault)

    def _call(self, body: GenerationBody, prompt: list[bytes], answer: Answer, priority: int) -> Call:
        output = answer.tokens
        self._check_length(len(prompt), len(output))
        ticket = self._ticket(body)
        return Call(
            id=uuid.uuid4().hex,
            prompt_tokens=len(prompt),
            output_tokens=len(output),
            content=extents([*prompt, *output], self._config.block_size, self._weights),
            priority=priority,
            program=ticket.program if ticket else "",
            rank=int(ticket.rank) if ticket and math.isfinite(ticket.rank) else None,
            ttl=ticket.ttl if ticket else 0.0,
        )

    def _ticket(self, body: GenerationBody) -> Ticket | None:
        try:
            return parse_ticket(body.vllm_xargs or {})
        except BadValueError:
            self._pins.ignored += 1
            return None

    def _tail(self, body: GenerationBody) -> Tokens | None:
        try:
            return parse_tail(body.vllm_xargs or {})
        except BadValueError:
            self._pins.ignored += 1
            return None


def _priority(request: Request) -> int:
    """That of a message, which vLLM takes from a header; a wrong one counts as none."""
    try:
        return int(request.headers.get("x-vllm-priority", "0"))
    except ValueError:
        return 0


async def _read(request: Request, shape: type[_Body]) -> _Body:
    try:
        return shape.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _RefusedError(400, "BadRequestError", f"{where}: {first['msg']}", where or None) from error


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, _RefusedError):
        raise error
    return JSONResponse(error.error, status_code=error.status)
