"""Spans, by OpenTelemetry's in-memory exporter."""

from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from agentserve.config import ConfigError, TracingSection, parse
from agentserve.gateway.lives import Lives
from agentserve.gateway.tracing import factory
from agentserve.gateway.tracing.factory import TracingError, check_tracing
from agentserve.gateway.tracing.spans import CallSpans
from scheduler.actions import Dispatch, Why
from scheduler.brain import Decision
from scheduler.events import CallArrived, CallCancelled, CallFinished, CallFirstToken, Event, ProgramEnded
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, ProgramKey, Usage
from tests.gateway.world import ANY_POOL, CHAT, chat, eventually, until_idle, world

P = ProgramKey(DEFAULT_TENANT, "p")
CHILD = ProgramKey(DEFAULT_TENANT, "child")
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECOND = 1_000_000_000


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.alive: set[ProgramKey] = {P, CHILD}
        self.parents: dict[CallId, str] = {}
        self.spans = CallSpans(
            provider.get_tracer("test"), 1000.0, self.alive.__contains__, lambda call: self.parents.get(call, "")
        )
        self.lives = Lives([self.spans])

    def tell(self, event: Event, *actions: Dispatch) -> None:
        self.lives.record(event, Decision(actions, None))

    def call(self, name: str, begin: float, end: float, program: ProgramKey = P, **more: object) -> None:
        """A whole call, one second in line, its first token two seconds after its arrival."""
        call = CallId(name)
        self.tell(CallArrived(begin, call, program, "m", 100, workflow="swe", **more))  # type: ignore[arg-type]
        dispatch = Dispatch(call, EngineId("a"), 0, 0, 0.0, Why.ADMITTED, 1.0, 10)
        self.tell(ProgramEnded(begin + 1, ProgramKey(DEFAULT_TENANT, "nobody")), dispatch)
        self.tell(CallFirstToken(begin + 2, call))
        self.tell(CallFinished(end, call, Usage(100, 10, 60), ("bash",)))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


def times(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / SECOND - 1000, span.end_time / SECOND - 1000


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def own_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def test_a_program_is_the_parent_of_its_calls_and_gaps() -> None:
    traced = Traced()
    traced.call("1", 0.0, 5.0)
    traced.call("2", 9.0, 12.0)
    traced.alive.clear()
    traced.tell(ProgramEnded(20.0, P))
    (program,) = traced.named("invoke_agent swe")
    calls, (gap,) = traced.named("chat m"), traced.named("execute_tool bash")
    assert [times(span) for span in (program, *calls, gap)] == [(0.0, 12.0), (0.0, 5.0), (9.0, 12.0), (5.0, 9.0)]
    assert {parent_id(span) for span in (*calls, gap)} == {own_id(program)}
    assert program.parent is None


def test_a_call_has_the_attributes_of_the_conventions_and_no_text() -> None:
    traced = Traced()
    traced.call("1", 0.0, 5.0, max_output=64, stage="plan")
    (span,) = traced.named("chat m")
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 64,
        "gen_ai.conversation.id": "p",
        "gen_ai.agent.name": "swe",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "agentserve.call": "1",
        "agentserve.tenant": "default",
        "agentserve.stage": "plan",
        "agentserve.engine": "a",
        "agentserve.why": "admitted",
        "agentserve.queue_seconds": 1.0,
        "agentserve.engine_seconds": 4.0,
        "agentserve.status": "finished",
        "agentserve.tools": ("bash",),
    }
    assert [event.name for event in span.events] == ["agentserve.dispatched", "agentserve.first_token"]


def test_calls_side_by_side_leave_no_gap_between_them() -> None:
    traced = Traced()
    for name in "12":
        traced.tell(CallArrived(0.0, CallId(name), P, "m", 100))
    traced.tell(CallFinished(2.0, CallId("1"), None))
    traced.tell(CallArrived(3.0, CallId("3"), P, "m", 100))
    traced.tell(CallFinished(4.0, CallId("2"), None))
    traced.tell(CallFinished(5.0, CallId("3"), None))
    assert not traced.named("execute_tool")
    traced.tell(CallArrived(7.0, CallId("4"), P, "m", 100))
    (gap,) = traced.named("execute_tool")
    assert times(gap) == (5.0, 7.0)


def test_a_program_joins_the_trace_of_its_client_and_later_calls_link_to_it() -> None:
    traced = Traced()
    traced.parents = {CallId("1"): CLIENT, CallId("2"): "nonsense"}
    traced.call("1", 0.0, 5.0)
    traced.call("2", 6.0, 9.0)
    traced.spans.close()
    (program,) = traced.named("invoke_agent swe")
    first, second = traced.named("chat m")
    assert parent_id(program) == 0xB7AD6B7169203331
    assert [link.context.span_id for link in first.links] == [0xB7AD6B7169203331]
    assert not second.links


def test_a_sub_agent_is_a_child_of_its_parent() -> None:
    traced = Traced()
    traced.tell(CallArrived(0.0, CallId("1"), P, "m", 100, workflow="main"))
    traced.call("2", 1.0, 4.0, CHILD, parent=P)
    traced.spans.close()
    (main,), (child,) = traced.named("invoke_agent main"), traced.named("invoke_agent swe")
    assert parent_id(child) == own_id(main)


def test_a_call_without_an_answer_is_an_error() -> None:
    traced = Traced()
    traced.tell(CallArrived(0.0, CallId("1"), P, "m", 100))
    traced.tell(CallCancelled(3.0, CallId("1")))
    (span,) = traced.named("chat m")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "cancelled"


def test_a_program_that_fell_silent_is_ended_when_another_call_ends() -> None:
    traced = Traced()
    traced.call("1", 0.0, 5.0)
    traced.alive.remove(P)
    traced.call("2", 20.0, 30.0, CHILD)
    (program,) = traced.named("invoke_agent swe")
    assert times(program) == (0.0, 5.0)


async def test_the_gateway_traces_what_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    opened: Callable[[str, str], TracerProvider] = lambda endpoint, service: provider  # noqa: E731
    monkeypatch.setattr("agentserve.gateway.tracing.exporter.provider_to", opened)
    async with world(tracing={}) as w:
        headers = {"x-agentserve-program": "p", "x-agentserve-final": "true", "traceparent": CLIENT}
        await w.client.post(CHAT, json=chat("a secret"), headers=headers)
        await until_idle(w.brain)
        await eventually(lambda: len(exporter.get_finished_spans()) == 2, "both spans")
    call, program = exporter.get_finished_spans()
    assert (call.name, program.name) == ("chat m", "invoke_agent")
    assert parent_id(call) == own_id(program)
    assert "secret" not in "".join(span.to_json() for span in (call, program))


def test_without_the_sdk_the_mistake_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "find_spec", lambda name: None)
    with pytest.raises(TracingError, match=r"pip install 'agentserve\[tracing\]'"):
        check_tracing()


def test_an_endpoint_is_a_url() -> None:
    assert TracingSection.model_validate({"endpoint": "http://c:4318/v1/traces"}).endpoint == "http://c:4318"
    with pytest.raises(ConfigError, match="begins with http"):
        parse({"pools": ANY_POOL, "tracing": {"endpoint": "c:4318"}})
