"""Calls as OpenTelemetry spans, after the semantic conventions for generative AI: a program is the parent of its calls.

A program is a span `invoke_agent`, from its first call's arrival to its end; each call is a span `chat` in it, and each
gap between calls `execute_tool`. Spans are made when they are over, with the times of the driver's clock, except the
program's, which has to be there before its children. No span holds any text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from agentserve.gateway.lives import Life, Watcher
from scheduler.types import CallId, ProgramKey, Seconds
from workloads.traces.recording import CallStatus

SWEEP: Seconds = 10.0
"""Between two looks for programs that have ended without a word."""

Attributes = Mapping[str, AttributeValue]
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(slots=True)
class _Program:
    span: Span
    open_calls: int = 0
    last_end: Seconds = 0.0
    tools: tuple[str, ...] = ()
    """What the answer called after which the gap began."""


class CallSpans(Watcher):
    """Makes spans of what happens to calls."""

    def __init__(
        self,
        tracer: Tracer,
        start: Seconds,
        lives: Callable[[ProgramKey], bool],
        parent_of: Callable[[CallId], str],
    ) -> None:
        """Begins with no program.

        Args:
            tracer: makes the spans.
            start: when the driver's clock began, in seconds since 1970.
            lives: whether a program has not ended.
            parent_of: the `traceparent` that a call's client sent, or "".
        """
        self._tracer = tracer
        self._start = start
        self._lives = lives
        self._parent_of = parent_of
        self._programs: dict[ProgramKey, _Program] = {}
        self._links: dict[CallId, Span] = {}
        self._swept: Seconds = 0.0

    def call_arrived(self, life: Life) -> None:
        """Begins the program's span if there is none, and ends its gap if there is one."""
        arrival = life.arrival
        client = self._client_span(arrival.call)
        program = self._programs.get(arrival.program)
        if program is None:
            program = self._programs[arrival.program] = _Program(self._begin(life, client))
        elif not program.open_calls:
            self._gap(program, arrival.at)
        program.open_calls += 1
        if client is not None:
            self._links[arrival.call] = client

    def call_ended(self, life: Life) -> None:
        """Makes the call's span."""
        arrival = life.arrival
        program = self._programs[arrival.program]
        program.open_calls -= 1
        program.last_end, program.tools = life.ended, life.tools
        client = self._links.pop(arrival.call, None)
        span = self._tracer.start_span(
            f"chat {arrival.model}",
            context=set_span_in_context(program.span),
            kind=SpanKind.CLIENT,
            attributes=_of_call(life),
            links=[Link(client.get_span_context())] if client is not None else [],
            start_time=self._wall(arrival.at),
        )
        if life.dispatched is not None:
            span.add_event("agentserve.dispatched", timestamp=self._wall(life.dispatched))
        if life.first_token is not None:
            span.add_event("agentserve.first_token", timestamp=self._wall(life.first_token))
        if life.status is not CallStatus.FINISHED:
            span.set_attribute("error.type", life.reason or life.status.value)
            span.set_status(Status(StatusCode.ERROR, life.reason or life.status.value))
        span.end(self._wall(life.ended))
        if life.ended - self._swept >= SWEEP or arrival.final:
            self._sweep(life.ended)

    def program_ended(self, program: ProgramKey, at: Seconds) -> None:
        """Ends the program's span, unless calls of it still run."""
        self._end_if_over(program, at)

    def close(self) -> None:
        """Ends all spans."""
        for program in self._programs.values():
            program.span.end(self._wall(program.last_end))
        self._programs.clear()

    def _begin(self, life: Life, client: Span | None) -> Span:
        arrival = life.arrival
        parent = self._programs.get(arrival.parent) if arrival.parent else None
        above = parent.span if parent is not None else client
        name = f"invoke_agent {arrival.workflow}".strip()
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.conversation.id": arrival.program.program,
            "agentserve.tenant": arrival.program.tenant,
            **({"gen_ai.agent.name": arrival.workflow} if arrival.workflow else {}),
        }
        context = set_span_in_context(above) if above is not None else None
        return self._tracer.start_span(name, context, attributes=attributes, start_time=self._wall(arrival.at))

    def _gap(self, program: _Program, until: Seconds) -> None:
        tools = ",".join(program.tools)
        attributes: dict[str, AttributeValue] = {"gen_ai.operation.name": "execute_tool", "agentserve.gap": True}
        if tools:
            attributes["gen_ai.tool.name"] = tools
        span = self._tracer.start_span(
            f"execute_tool {tools}".strip(),
            set_span_in_context(program.span),
            attributes=attributes,
            start_time=self._wall(program.last_end),
        )
        span.end(self._wall(until))

    def _sweep(self, now: Seconds) -> None:
        self._swept = now
        for program in list(self._programs):
            self._end_if_over(program, now)

    def _end_if_over(self, key: ProgramKey, now: Seconds) -> None:
        program = self._programs.get(key)
        if program is not None and not program.open_calls and not self._lives(key):
            program.span.end(self._wall(program.last_end))
            del self._programs[key]

    def _client_span(self, call: CallId) -> Span | None:
        header = self._parent_of(call)
        if not header:
            return None
        span = get_current_span(_PROPAGATOR.extract({"traceparent": header}))
        return span if span.get_span_context().is_valid else None

    def _wall(self, at: Seconds) -> int:
        """Nanoseconds since 1970."""
        return int((self._start + at) * 1e9)


def _of_call(life: Life) -> Attributes:
    arrival, dispatch, usage = life.arrival, life.dispatch, life.usage
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": arrival.model,
        "gen_ai.conversation.id": arrival.program.program,
        "agentserve.call": arrival.call,
        "agentserve.tenant": arrival.program.tenant,
        "agentserve.queue_seconds": life.queued,
        "agentserve.engine_seconds": life.on_engines,
        "agentserve.status": life.status.value,
    }
    if arrival.max_output is not None:
        attributes["gen_ai.request.max_tokens"] = arrival.max_output
    if arrival.workflow:
        attributes["gen_ai.agent.name"] = arrival.workflow
    if arrival.stage:
        attributes["agentserve.stage"] = arrival.stage
    if dispatch is not None:
        attributes["agentserve.engine"] = dispatch.engine
        attributes["agentserve.why"] = dispatch.why.value
    if usage is not None:
        attributes["gen_ai.usage.input_tokens"] = usage.prompt
        attributes["gen_ai.usage.output_tokens"] = usage.output
        if usage.cached is not None:
            attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached
    if life.tools:
        attributes["agentserve.tools"] = life.tools
    return attributes
