"""Programs as data: the calls of an agent run, what each waits for, and which history its prompt extends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import ClassVar, NamedTuple, TypeAlias

Seconds: TypeAlias = float
Tokens: TypeAlias = int

MAX_TOKENS: Tokens = 10_000_000
"""More than any model's context: a length above it is a mistake in units."""

MAX_SECONDS: Seconds = 1e10
"""Three hundred years, counted from 1970 too: a time above it is a mistake in units."""


class WorkloadError(ValueError):
    """A program or a set of programs that cannot be replayed. The message says which part is wrong, and why."""


class CallRef(NamedTuple):
    """A call among all programs of a workload."""

    program: str
    call: str

    def __str__(self) -> str:
        return f"{self.program}:{self.call}"


@dataclass(frozen=True, slots=True)
class Edge:
    """A call waits for the end of another, and `gap_s` seconds more while `tool` runs.

    `program` is empty for a call of the same program; a sub-agent's first call names its parent there, and the
    parent's call that uses the sub-agent's result names the child.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    call: str
    gap_s: Seconds = 0.0
    tool: str = ""
    program: str = ""

    def __post_init__(self) -> None:
        _check_seconds(self.gap_s, f"gap_s of the edge from call {self.call!r}")


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The first `tokens` tokens of the text named `id`, which is the same for every program that uses it.

    Two lengths of one id share the shorter length.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    tokens: Tokens

    def __post_init__(self) -> None:
        _check_tokens(self.tokens, f"tokens of prefix {self.id!r}")


@dataclass(frozen=True, slots=True)
class Said:
    """What a client said with a call when it sent it; None stands for nothing.

    `deadline_s` counts from the call's arrival.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    final: bool = False
    """That it is the program's last."""
    max_output: Tokens | None = None
    deadline_s: Seconds | None = None

    def __post_init__(self) -> None:
        if self.max_output is not None:
            _check_tokens(self.max_output, "max_output")
        if self.deadline_s is not None:
            _check_seconds(self.deadline_s, "deadline_s")


@dataclass(frozen=True, slots=True)
class Call:
    """One LLM request.

    Its prompt is the history of `context` (that call's prompt and answer), or the shared texts of `prefix`, one behind
    the other, where it starts afresh, followed by `new_tokens` of its own. Two calls share the texts that both begin
    with, up to the first that differs in its id or, after the shorter of the two, in its length. It starts when every edge of `after` is over, or when its program
    arrives if there is none.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    new_tokens: Tokens
    output_tokens: Tokens
    after: tuple[Edge, ...] = ()
    context: str | None = None
    prefix: tuple[SharedPrefix, ...] = ()
    stage: str = ""
    said: Said | None = None
    """None where that is not known, and whoever replays the call decides."""

    def __post_init__(self) -> None:
        _check_tokens(self.new_tokens, f"new_tokens of call {self.id!r}")
        _check_tokens(self.output_tokens, f"output_tokens of call {self.id!r}")
        if self.context is not None and self.prefix:
            raise WorkloadError(f"call {self.id!r} has both a context and a prefix: the prefix belongs to a fresh call")


@dataclass(frozen=True, slots=True)
class Program:
    """One agent run, arriving `arrival_s` seconds after the workload starts.

    Raises:
        WorkloadError: an id is used twice, an edge or context names no call of the program, a context is not
            something the call waits for, or calls wait for each other in a circle.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    id: str
    arrival_s: Seconds
    calls: tuple[Call, ...]
    parent: str | None = None
    workflow: str = ""
    objective_s: Seconds | None = None
    """Within how many seconds of its arrival it is to end, where its client says so. What is left of them goes with
    each of its calls as a deadline."""

    def __post_init__(self) -> None:
        _check_seconds(self.arrival_s, f"arrival_s of program {self.id!r}")
        if self.objective_s is not None:
            _check_seconds(self.objective_s, f"objective_s of program {self.id!r}")
        if not self.calls:
            raise WorkloadError(f"program {self.id!r} has no calls")
        if self.parent == self.id:
            raise WorkloadError(f"program {self.id!r} is its own parent")
        known = {call.id for call in self.calls}
        if len(known) < len(self.calls):
            raise WorkloadError(f"program {self.id!r} uses a call id twice")
        for call in self.calls:
            self._check_edges(call, known)
        self._check_contexts()

    def dependencies(self, call: Call) -> tuple[CallRef, ...]:
        """What the call waits for, in the order of `call.after`."""
        return tuple(CallRef(edge.program or self.id, edge.call) for edge in call.after)

    def ordered(self) -> tuple[Call, ...]:
        """The calls, each after those of this program that it waits for; as they are where that is so already."""
        if self._is_ordered():
            return self.calls
        calls = {call.id: call for call in self.calls}
        graph = {call.id: self._own_dependencies(call) for call in self.calls}
        try:
            return tuple(calls[name] for name in TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise WorkloadError(f"calls of program {self.id!r} wait for each other: {circle}") from None

    def turns(self) -> dict[str, int]:
        """Each call's depth: 0 for calls that wait for none of this program's, else one more than the deepest."""
        turns: dict[str, int] = {}
        for call in self.ordered():
            turns[call.id] = 1 + max((turns[name] for name in self._own_dependencies(call)), default=-1)
        return turns

    def prompt_tokens(self) -> dict[str, Tokens]:
        """Each call's planned prompt length."""
        prompts: dict[str, Tokens] = {}
        outputs = {call.id: call.output_tokens for call in self.calls}
        for call in self.ordered():
            history = 0 if call.context is None else prompts[call.context] + outputs[call.context]
            prefix = sum(text.tokens for text in call.prefix)
            prompts[call.id] = history + prefix + call.new_tokens
        return prompts

    @property
    def peak_tokens(self) -> Tokens:
        """The longest prompt with its answer: the context length that the program needs."""
        prompts = self.prompt_tokens()
        return max(prompts[call.id] + call.output_tokens for call in self.calls)

    def _own_dependencies(self, call: Call) -> list[str]:
        return [edge.call for edge in call.after if edge.program in ("", self.id)]

    def _is_ordered(self) -> bool:
        earlier: set[str] = set()
        for call in self.calls:
            if not earlier.issuperset(self._own_dependencies(call)):
                return False
            earlier.add(call.id)
        return True

    def _check_edges(self, call: Call, known: set[str]) -> None:
        for name in self._own_dependencies(call):
            if name not in known:
                raise WorkloadError(f"call {call.id!r} of program {self.id!r} waits for {name!r}, which does not exist")
        if call.context is not None and call.context not in known:
            raise WorkloadError(
                f"call {call.id!r} of program {self.id!r} extends the history of {call.context!r}, which does not exist"
            )

    def _check_contexts(self) -> None:
        calls = {call.id: call for call in self.ordered()}
        for call in self.calls:
            if call.context is not None and not self._waits_for(call, call.context, calls):
                raise WorkloadError(
                    f"call {call.id!r} of program {self.id!r} extends the history of {call.context!r} "
                    f"but does not wait for it: add an edge"
                )

    def _waits_for(self, call: Call, earlier: str, calls: Mapping[str, Call]) -> bool:
        """Whether the call waits for the earlier one, or for something that does."""
        ahead = self._own_dependencies(call)
        seen = set(ahead)
        while ahead and earlier not in seen:
            further = [name for name in self._own_dependencies(calls[ahead.pop()]) if name not in seen]
            ahead += further
            seen.update(further)
        return earlier in seen


def check_workload(programs: Sequence[Program]) -> None:
    """Checks what no program can check alone.

    Raises:
        WorkloadError: a program id is used twice, a parent or a call of another program does not exist, or calls of
            several programs wait for each other in a circle.
    """
    names = {program.id for program in programs}
    if len(names) < len(programs):
        raise WorkloadError("two programs have the same id")
    graph = {CallRef(program.id, call.id): program.dependencies(call) for program in programs for call in program.calls}
    for program in programs:
        if program.parent is not None and program.parent not in names:
            raise WorkloadError(f"program {program.id!r} has the parent {program.parent!r}, which does not exist")
    for ref, dependencies in graph.items():
        for dependency in dependencies:
            if dependency not in graph:
                raise WorkloadError(f"call {ref} waits for {dependency}, which does not exist")
    _check_acyclic(graph)


def _check_acyclic(graph: dict[CallRef, tuple[CallRef, ...]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(str(ref) for ref in error.args[1])
        raise WorkloadError(f"calls wait for each other: {circle}") from None


def _check_seconds(value: Seconds, what: str) -> None:
    if not 0 <= value <= MAX_SECONDS:
        raise WorkloadError(
            f"{what} must be a finite number of seconds between 0 and {MAX_SECONDS:,.0f}, not {value!r}"
        )


def _check_tokens(value: Tokens, what: str) -> None:
    if not 1 <= value <= MAX_TOKENS:
        raise WorkloadError(f"{what} must be between 1 and {MAX_TOKENS:,}, not {value!r}")
