"""The public coding-agent sessions of the kv-cache-tester corpus (Claude Code, 360 sessions, Apache-2.0).

One JSON document a session, which becomes a program and its sub-agents' programs, all arriving at 0:
- Calls are the session's requests in order; a sub-agent is a child program, started by the call before it and waited
  for by the next call that comes after its end.
- A call extends the history of the latest earlier call whose prompt is, up to its last `_REWRITTEN_BLOCKS` blocks, the
  beginning of its own; where there is none (a compaction, an edited history) it starts afresh behind the part of tool
  definitions and system prompt that it shares with the program's first call.
- Tool definitions and system prompt are one shared prefix, the same for sessions where both are as long.
- A gap runs from the end of a call to the start of the next; where a call's duration is missing, it is the recorded
  think time.
- Answers always enter the history here. The corpus drops thinking from it, so that a prompt may become a little longer
  than the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from workloads.jsonl import parse
from workloads.program import MAX_SECONDS, MAX_TOKENS, Call, Edge, Program, Seconds, SharedPrefix, Tokens
from workloads.redraw import HUMAN, SUBAGENT
from workloads.traces.damage import Damage
from workloads.traces.source import Source

WORKFLOW = "coding_agent"
_REWRITTEN_BLOCKS = 2

_Duration = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
_Milliseconds = Annotated[float, Field(ge=0, le=1000 * MAX_SECONDS, allow_inf_nan=False)]
_Length = Annotated[int, Field(ge=0, le=MAX_TOKENS)]


class _Request(BaseModel):
    type: Literal["n", "s"]
    t: _Duration
    prompt: int = Field(alias="in", ge=1, le=MAX_TOKENS)
    out: _Length
    hash_ids: list[int]
    input_types: list[str] = []
    api_time: _Duration | None = None
    think_time: _Duration | None = None

    @property
    def gap_tool(self) -> str:
        return "tool" if "tool_result" in self.input_types else HUMAN


class _Subagent(BaseModel):
    """A sub-agent's run; `t` is when it ended, and its requests' times count from its start."""

    type: Literal["subagent"]
    t: _Duration
    agent_id: str
    duration_ms: _Milliseconds
    tool_tokens: _Length
    system_tokens: _Length
    requests: list[_Request]

    @property
    def start_s(self) -> Seconds:
        return self.t - self.duration_ms / 1000


class _Session(BaseModel):
    id: str
    block_size: Annotated[int, Field(ge=1)]
    tool_tokens: _Length
    system_tokens: _Length
    requests: list[Annotated[_Request | _Subagent, Field(discriminator="type")]]


_SESSION = TypeAdapter(_Session)


def read_sessions(source: Source, damage: Damage) -> Iterator[Program]:
    """Yields the session's program and then its sub-agents'; nothing if it has no request of its own."""
    yield from damage.attempt(source.name, _session_programs, source.whole()) or ()


def _session_programs(text: bytes) -> list[Program]:
    return list(_programs(parse(_SESSION, text)))


@dataclass(frozen=True, slots=True)
class _Agent:
    """A chain of requests, the session's own or a sub-agent's; `start_s` is where its requests' times begin."""

    program: str
    start_s: Seconds
    head: SharedPrefix | None
    """Its tool definitions and system prompt, at full size."""
    block_size: int
    requests: Sequence[_Request]

    def begin_s(self, index: int) -> Seconds:
        return self.start_s + self.requests[index].t

    def end_s(self, index: int) -> Seconds:
        """When the request was answered; its beginning where the duration is not recorded."""
        return self.begin_s(index) + (self.requests[index].api_time or 0.0)

    def gap_s(self, index: int) -> Seconds:
        """From the end of the request before to the beginning of this one."""
        think = self.requests[index].think_time
        if self.requests[index - 1].api_time is None and think is not None:
            return think
        return self.begin_s(index) - self.end_s(index - 1)

    def context(self, index: int) -> int | None:
        """The latest earlier request whose history this one extends."""
        blocks = self.requests[index].hash_ids
        for earlier in reversed(range(index)):
            before = self.requests[earlier].hash_ids
            last = len(before) - 1 - _REWRITTEN_BLOCKS
            if 0 <= last < len(blocks) and before[last] == blocks[last]:
                return earlier
        return None

    def shared_tokens(self, index: int) -> Tokens:
        """How much of `head` a request that starts afresh begins with; at least one token is its own."""
        if self.head is None:
            return 0
        pairs = zip(self.requests[0].hash_ids, self.requests[index].hash_ids, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        shared = self.head.tokens if index == 0 else min(self.head.tokens, same * self.block_size)
        return min(shared, self.requests[index].prompt - 1)


@dataclass(frozen=True, slots=True)
class _Subprogram:
    """A sub-agent's calls and the index of the main request before it (-1: none)."""

    agent: _Agent
    spawner: int
    calls: tuple[Call, ...]

    @property
    def end_s(self) -> Seconds:
        return self.agent.end_s(len(self.calls) - 1)


def _programs(session: _Session) -> Iterator[Program]:
    main = _main_agent(session)
    calls = _calls(main)
    if not calls:
        return
    children = [child for child in _subprograms(session) if child.calls]
    yield Program(main.program, 0.0, tuple(_joined(calls, main, children)), workflow=WORKFLOW)
    for child in children:
        first = replace(child.calls[0], after=_spawned(child, main))
        yield Program(child.agent.program, 0.0, (first, *child.calls[1:]), parent=main.program, workflow=WORKFLOW)


def _main_agent(session: _Session) -> _Agent:
    own = [entry for entry in session.requests if isinstance(entry, _Request)]
    return _Agent(session.id, 0.0, _head(session), session.block_size, own)


def _subprograms(session: _Session) -> Iterator[_Subprogram]:
    spawner = -1
    for entry in session.requests:
        if isinstance(entry, _Request):
            spawner += 1
            continue
        name = f"{session.id}/{entry.agent_id}"
        agent = _Agent(name, entry.start_s, _head(entry), session.block_size, entry.requests)
        yield _Subprogram(agent, spawner, _calls(agent))


def _head(owner: _Session | _Subagent) -> SharedPrefix | None:
    tokens = owner.tool_tokens + owner.system_tokens
    return SharedPrefix(f"sessions-{owner.tool_tokens}-{owner.system_tokens}", tokens) if tokens else None


def _calls(agent: _Agent) -> tuple[Call, ...]:
    """The agent's calls as a chain."""
    calls: list[Call] = []
    ends: list[Tokens] = []
    for index, request in enumerate(agent.requests):
        context = agent.context(index)
        prefix = _prefix(agent, index) if context is None else ()
        history = sum(shared.tokens for shared in prefix) if context is None else ends[context]
        new, output = max(1, request.prompt - history), max(1, request.out)
        ends.append(history + new + output)
        before = (Edge(str(index - 1), max(0.0, agent.gap_s(index)), request.gap_tool),) if index else ()
        calls.append(Call(str(index), new, output, before, None if context is None else str(context), prefix))
    return tuple(calls)


def _prefix(agent: _Agent, index: int) -> tuple[SharedPrefix, ...]:
    tokens = agent.shared_tokens(index)
    return (SharedPrefix(agent.head.id, tokens),) if agent.head and tokens else ()


def _spawned(child: _Subprogram, main: _Agent) -> tuple[Edge, ...]:
    """What a sub-agent's first call waits for."""
    if child.spawner < 0:
        return ()
    gap_s = child.agent.begin_s(0) - main.end_s(child.spawner)
    return (Edge(str(child.spawner), max(0.0, gap_s), SUBAGENT, main.program),)


def _joined(calls: Sequence[Call], main: _Agent, children: Sequence[_Subprogram]) -> Iterator[Call]:
    """The main calls, each with the sub-agents it waits for: those that ended since the main call before it."""
    waiting = list(children)
    for index, call in enumerate(calls):
        begin_s = main.begin_s(index)
        over = [child for child in waiting if child.spawner < index and child.end_s <= begin_s]
        waiting = [child for child in waiting if child not in over]
        edges = [
            Edge(child.calls[-1].id, max(0.0, begin_s - child.end_s), SUBAGENT, child.agent.program) for child in over
        ]
        spawned_just_before = any(child.spawner == index - 1 for child in over)
        own = tuple(replace(edge, gap_s=0.0) for edge in call.after) if spawned_just_before else call.after
        yield replace(call, after=(*own, *edges))
