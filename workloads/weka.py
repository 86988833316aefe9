"""Reads the public coding-agent sessions of the kv-cache-tester corpus (Claude Code, 360 sessions, Apache-2.0).

What a session's program is:
- Calls are the session's requests in order; a sub-agent is a child program, started by the call before it and waited
  for by the next call that comes after its end.
- A call extends the history of the latest earlier call whose prompt is, up to its last `_REWRITTEN_BLOCKS` blocks, the
  beginning of its own; where there is none (a compaction, an edited history) it starts afresh behind the part of tool
  definitions and system prompt that it shares with the program's first call.
- Tool definitions and system prompt are one shared prefix, the same for sessions where both are as long.
- A gap runs from the end of a call to the start of the next; where a call's duration is missing, it is the recorded
  think time.
- Lengths shrink by the rule of `ContextBudget` with a window of 200,000 tokens, the context of most models in the
  corpus. Prompts are scaled, and what a call adds is the difference, so that rounding does not add up. Because answers
  always enter the history here (the corpus drops thinking from it), a prompt can still outgrow the budget: the program
  then ends before that call.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from workloads.budget import ContextBudget
from workloads.program import Call, Edge, Program, Seconds, SharedPrefix, Tokens, WorkloadError

WORKFLOW = "coding_agent"
WINDOW_TOKENS: Tokens = 200_000
_SUBAGENT_TOOL = "subagent"
_REWRITTEN_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Reduction:
    """How sessions shrink: to `context_tokens`, to the first `max_calls` requests of each agent, and gaps to
    `max_gap_s` after multiplication by `gap_scale` (people leave for hours).
    """

    context_tokens: Tokens = WINDOW_TOKENS
    max_calls: int | None = None
    max_gap_s: Seconds | None = None
    gap_scale: float = 1.0

    def gap(self, seconds: Seconds) -> Seconds:
        """The gap to replay instead of a recorded one; overlaps count as none."""
        scaled = max(0.0, seconds * self.gap_scale)
        return scaled if self.max_gap_s is None else min(scaled, self.max_gap_s)


FULL_SIZE = Reduction()


class _Request(BaseModel):
    type: Literal["n", "s"]
    t: float
    prompt: int = Field(alias="in", ge=1)
    out: int = Field(ge=0)
    hash_ids: list[int]
    input_types: list[str] = []
    api_time: float | None = None
    think_time: float | None = None

    @property
    def gap_tool(self) -> str:
        return "tool" if "tool_result" in self.input_types else "human"


class _Subagent(BaseModel):
    """A sub-agent's run; `t` is when it ended, and its requests' times count from its start."""

    type: Literal["subagent"]
    t: float
    agent_id: str
    duration_ms: float
    tool_tokens: int
    system_tokens: int
    requests: list[_Request]

    @property
    def start_s(self) -> Seconds:
        return self.t - self.duration_ms / 1000


class _Session(BaseModel):
    id: str
    block_size: int
    tool_tokens: int
    system_tokens: int
    requests: list[Annotated[_Request | _Subagent, Field(discriminator="type")]]


def read_sessions(archive: Path, reduction: Reduction = FULL_SIZE) -> Iterator[Program]:
    """Yields each session's program and then its sub-agents', all arriving at 0, as it reads the tar archive.

    Sessions without a request of their own are left out.

    Raises:
        WorkloadError: a file of the archive is not a session; the message names the archive, the file and the field.
    """
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".json") else None
            if content is not None:
                yield from _programs(_parse(archive, member.name, content.read()), reduction)


def _parse(archive: Path, name: str, content: bytes) -> _Session:
    try:
        return _Session.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "file"
        raise WorkloadError(f"{archive}: {name}: {field}: {first['msg']}") from None


@dataclass(frozen=True, slots=True)
class _Agent:
    """A chain of requests, the session's own or a sub-agent's; `start_s` is where its requests' times begin."""

    program: str
    start_s: Seconds
    head: SharedPrefix
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


def _programs(session: _Session, reduction: Reduction) -> Iterator[Program]:
    main = _main_agent(session, reduction)
    calls = _calls(main, reduction)
    if not calls:
        return
    children = [child for child in _subprograms(session, reduction) if child.calls and child.spawner < len(calls)]
    yield Program(main.program, 0.0, tuple(_joined(calls, main, children, reduction)), workflow=WORKFLOW)
    for child in children:
        first = replace(child.calls[0], after=_spawned(child, main, reduction))
        yield Program(child.agent.program, 0.0, (first, *child.calls[1:]), parent=main.program, workflow=WORKFLOW)


def _main_agent(session: _Session, reduction: Reduction) -> _Agent:
    own = [entry for entry in session.requests if isinstance(entry, _Request)]
    return _Agent(session.id, 0.0, _head(session), session.block_size, own[: reduction.max_calls])


def _subprograms(session: _Session, reduction: Reduction) -> Iterator[_Subprogram]:
    spawner = -1
    for entry in session.requests:
        if isinstance(entry, _Request):
            spawner += 1
            continue
        name = f"{session.id}/{entry.agent_id}"
        requests = entry.requests[: reduction.max_calls]
        agent = _Agent(name, entry.start_s, _head(entry), session.block_size, requests)
        yield _Subprogram(agent, spawner, _calls(agent, reduction))


def _head(owner: _Session | _Subagent) -> SharedPrefix:
    return SharedPrefix(f"weka-{owner.tool_tokens}-{owner.system_tokens}", owner.tool_tokens + owner.system_tokens)


def _calls(agent: _Agent, reduction: Reduction) -> tuple[Call, ...]:
    """The agent's calls as a chain, up to the last that fits the budget."""
    peak = max((request.prompt + request.out for request in agent.requests), default=1)
    factor = ContextBudget(reduction.context_tokens, WINDOW_TOKENS).factor(peak)
    calls: list[Call] = []
    ends: list[Tokens] = []
    for index, request in enumerate(agent.requests):
        context = agent.context(index)
        prefix = _scaled_head(agent, index, factor) if context is None else ()
        history = sum(shared.tokens for shared in prefix) if context is None else ends[context]
        new = max(1, int(request.prompt * factor) - history)
        output = max(1, int(request.out * factor))
        ends.append(history + new + output)
        if ends[-1] > reduction.context_tokens:
            break
        before = (Edge(str(index - 1), reduction.gap(agent.gap_s(index)), request.gap_tool),) if index else ()
        calls.append(Call(str(index), new, output, before, None if context is None else str(context), prefix))
    return tuple(calls)


def _scaled_head(agent: _Agent, index: int, factor: float) -> tuple[SharedPrefix, ...]:
    tokens = int(agent.shared_tokens(index) * factor)
    return (replace(agent.head, tokens=tokens),) if tokens else ()


def _spawned(child: _Subprogram, main: _Agent, reduction: Reduction) -> tuple[Edge, ...]:
    """What a sub-agent's first call waits for."""
    if child.spawner < 0:
        return ()
    gap_s = child.agent.begin_s(0) - main.end_s(child.spawner)
    return (Edge(str(child.spawner), reduction.gap(gap_s), _SUBAGENT_TOOL, main.program),)


def _joined(
    calls: Sequence[Call], main: _Agent, children: Sequence[_Subprogram], reduction: Reduction
) -> Iterator[Call]:
    """The main calls, each with the sub-agents it waits for: those that ended since the main call before it."""
    waiting = list(children)
    for index, call in enumerate(calls):
        begin_s = main.begin_s(index)
        over = [child for child in waiting if child.spawner < index and child.end_s <= begin_s]
        waiting = [child for child in waiting if child not in over]
        edges = [
            Edge(child.calls[-1].id, reduction.gap(begin_s - child.end_s), _SUBAGENT_TOOL, child.agent.program)
            for child in over
        ]
        spawned_just_before = any(child.spawner == index - 1 for child in over)
        own = tuple(replace(edge, gap_s=0.0) for edge in call.after) if spawned_just_before else call.after
        yield replace(call, after=(*own, *edges))
