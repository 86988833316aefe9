"""Agent runs as OpenTelemetry spans with the attributes of its conventions for generative AI.

A JSON document with `spans`, or an OTLP export with `resourceSpans`. Each trace id is a program; a span that asks a
model is a call. Its lengths are those of its usage; where that is missing, a token is taken to be four bytes of its
messages. A call waits for the calls whose answers are among its messages, and for the one that its span hangs below;
where neither is known, the rules of `workloads.traces.observed` tell from the times. Other spans (tools, agents) name
the tool of the gap. A document's first trace arrives at 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

from pydantic import AliasChoices, BaseModel, Field, JsonValue, TypeAdapter

from workloads.jsonl import parse
from workloads.program import MAX_SECONDS, Program, Seconds, Tokens, WorkloadError
from workloads.traces.damage import Damage
from workloads.traces.observed import Mark, MarkPlaces, Observed, Run, family
from workloads.traces.source import Source

BYTES_PER_TOKEN = 4
CALLS = ("chat", "text_completion", "generate_content")
"""The operations that ask a model."""
_TOOL = "execute_tool"


class _Value(BaseModel):
    stringValue: str | None = None  # noqa: N815
    intValue: int | str | None = None  # noqa: N815
    doubleValue: float | None = None  # noqa: N815

    @property
    def plain(self) -> JsonValue:
        given = (self.stringValue, self.intValue, self.doubleValue)
        return next((value for value in given if value is not None), None)


class _Attribute(BaseModel):
    key: str
    value: _Value


class _Span(BaseModel):
    trace: str = Field(validation_alias=AliasChoices("trace_id", "traceId"))
    id: str = Field(validation_alias=AliasChoices("span_id", "spanId"))
    parent: str | None = Field(None, validation_alias=AliasChoices("parent_span_id", "parentSpanId"))
    name: str = ""
    start: str | int = Field(validation_alias=AliasChoices("start_time", "startTimeUnixNano"))
    end: str | int = Field(validation_alias=AliasChoices("end_time", "endTimeUnixNano"))
    attributes: dict[str, JsonValue] | list[_Attribute] = {}

    def get(self, *names: str) -> JsonValue:
        """The first of these attributes that there is."""
        given = self.attributes
        values = given if isinstance(given, dict) else {item.key: item.value.plain for item in given}
        return next((values[name] for name in names if values.get(name) is not None), None)

    @property
    def operation(self) -> str:
        return str(self.get("gen_ai.operation.name") or "")


class _Scope(BaseModel):
    spans: list[_Span]


class _Resource(BaseModel):
    scopes: list[_Scope] = Field(alias="scopeSpans")


class _Document(BaseModel):
    own: list[_Span] = Field([], alias="spans")
    resources: list[_Resource] = Field([], alias="resourceSpans")

    @property
    def spans(self) -> list[_Span]:
        return self.own + [span for resource in self.resources for scope in resource.scopes for span in scope.spans]


_DOCUMENT = TypeAdapter(_Document)


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A span that asks a model."""

    span: _Span
    begin_s: Seconds
    end_s: Seconds
    messages: tuple[_Message, ...]
    answer: str
    prompt_tokens: Tokens
    output_tokens: Tokens

    def uses(self, other: _Asked) -> bool:
        """Whether the other's answer is among the messages."""
        return bool(other.answer) and any(message.text == other.answer for message in self.messages)


def read_spans(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields a program a trace, by arrival."""
    runs = damage.attempt(source.name, _runs, source.label, source.whole()) or []
    places = MarkPlaces()
    for run in runs:
        yield from damage.attempt(f"{source.name}: program {run.program!r}", _family, run, places, runs[0]) or ()


def _family(run: Run, places: MarkPlaces, first: Run) -> list[Program]:
    return list(family([run], places, first.begin_s))


def _runs(label: str, text: bytes) -> list[Run]:
    spans: dict[str, list[_Span]] = {}
    for span in parse(_DOCUMENT, text).spans:
        spans.setdefault(span.trace, []).append(span)
    runs = [Run(f"{label}:{trace}", calls) for trace, own in spans.items() if (calls := _calls(own))]
    return sorted(runs, key=lambda run: run.begin_s)


def _calls(spans: Sequence[_Span]) -> list[Observed]:
    by_id = {span.id: span for span in spans}
    asked = sorted((_asked(span) for span in spans if _asks(span)), key=lambda call: (call.begin_s, call.end_s))
    places = {call.span.id: index for index, call in enumerate(asked)}
    tools = [(_time(span, "start_time", span.start), span) for span in spans if span.operation == _TOOL]
    return [
        _observed(call, asked, _caller(call.span, by_id, places), _tool(asked[index : index + 2], tools))
        for index, call in enumerate(asked)
    ]


def _asks(span: _Span) -> bool:
    return span.operation in CALLS or (not span.operation and span.get("gen_ai.request.model") is not None)


def _caller(span: _Span, by_id: Mapping[str, _Span], places: Mapping[str, int]) -> int | None:
    """The call that the span hangs below, at whatever distance."""
    seen = {span.id}
    while span.parent:
        if span.parent not in by_id:
            raise WorkloadError(f"parent_span_id: span {span.id!r} names {span.parent!r}, which does not exist")
        if span.parent in seen:
            raise WorkloadError(f"parent_span_id: span {span.id!r} hangs below itself")
        span = by_id[span.parent]
        seen.add(span.id)
        if span.id in places:
            return places[span.id]
    return None


def _observed(call: _Asked, asked: Sequence[_Asked], caller: int | None, tool: str) -> Observed:
    waits = {index for index, other in enumerate(asked) if other.end_s <= call.begin_s and call.uses(other)}
    if caller is not None:
        waits.add(caller)
    marks = tuple(mark for mark in _marks(call.messages) if mark.size)
    return Observed(
        begin_s=call.begin_s,
        end_s=call.end_s,
        prompt_tokens=call.prompt_tokens,
        output_tokens=call.output_tokens,
        prompt_bytes=marks[-1].size if marks else 0,
        marks=marks,
        tool=tool,
        stage=call.span.name,
        waits=frozenset(waits) or None,
    )


def _tool(pair: Sequence[_Asked], tools: Sequence[tuple[Seconds, _Span]]) -> str:
    """The name of the tool that began after the first call of the pair, and before the second if there is one."""
    until_s = pair[1].begin_s if len(pair) > 1 else math.inf
    began = [span for begin_s, span in tools if pair[0].end_s <= begin_s < until_s]
    return str(began[0].get("gen_ai.tool.name") or began[0].name) if began else ""


def _asked(span: _Span) -> _Asked:
    begin_s, end_s = _time(span, "start_time", span.start), _time(span, "end_time", span.end)
    if end_s < begin_s:
        raise WorkloadError(f"end_time: span {span.id!r} ends before it starts")
    messages = _messages(span, span.get("gen_ai.input.messages", "gen_ai.prompt"))
    answers = _messages(span, span.get("gen_ai.output.messages"))
    answer = str(span.get("gen_ai.output.text") or "") or "".join(message.text for message in answers)
    size = sum(len(message.text.encode()) for message in messages)
    return _Asked(
        span,
        begin_s,
        end_s,
        messages,
        answer,
        _tokens(span, ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"), size),
        _tokens(span, ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"), len(answer.encode())),
    )


def _time(span: _Span, field: str, value: str | int) -> Seconds:
    """Seconds since 1970, from ISO 8601 or nanoseconds."""
    try:
        if isinstance(value, int) or value.isdecimal():
            seconds = int(value) / 1e9
        else:
            time = datetime.fromisoformat(value)
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise WorkloadError(f"{field}: {str(value)[:40]!r} of span {span.id!r} is no time") from None
    if not 0 <= seconds <= MAX_SECONDS:
        raise WorkloadError(f"{field}: {value!r} of span {span.id!r} is not between 1970 and {MAX_SECONDS:g} s later")
    return seconds


def _tokens(span: _Span, names: tuple[str, ...], size: int) -> Tokens:
    given = span.get(*names)
    if given is None:
        return max(1, size // BYTES_PER_TOKEN)
    try:
        tokens = int(str(given))
    except ValueError:
        tokens = 0
    if tokens < 1:
        raise WorkloadError(f"{names[0]}: {given!r} of span {span.id!r} is no number of tokens above 0")
    return tokens


def _messages(span: _Span, value: JsonValue) -> tuple[_Message, ...]:
    """Messages with `content`, or with `parts`; as JSON in a text, or as they are."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise WorkloadError(f"gen_ai.input.messages: those of span {span.id!r} are no JSON") from None
    if not isinstance(value, list):
        return ()
    return tuple(_message(item) for item in value)


def _message(item: JsonValue) -> _Message:
    if not isinstance(item, dict):
        return _Message("", json.dumps(item))
    content = item.get("content", item.get("parts"))
    if isinstance(content, list):
        content = "".join(_part(part) for part in content)
    return _Message(str(item.get("role", "")), content if isinstance(content, str) else json.dumps(content))


def _part(part: JsonValue) -> str:
    text = part.get("content", part.get("text")) if isinstance(part, dict) else part
    return text if isinstance(text, str) else json.dumps(part)


def _marks(messages: Sequence[_Message]) -> Iterator[Mark]:
    chain, size = b"", 0
    for message in messages:
        text = message.text.encode()
        chain = blake2b(chain + message.role.encode() + b"\0" + text, digest_size=8).digest()
        size += len(text)
        yield Mark(int.from_bytes(chain), size)
