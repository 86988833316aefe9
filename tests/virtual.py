"""Programs, the brain and the engine model in virtual time: the whole system without a clock, a socket or a wait."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from scheduler.actions import Abort, Dispatch, Reject, Release, Retain
from scheduler.brain import Brain
from scheduler.events import (
    CallArrived,
    CallFinished,
    CallFirstToken,
    CallSent,
    EngineUp,
    Event,
    PinOutcome,
    PinReported,
    Wakeup,
)
from scheduler.policy import PolicyConfig
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, Usage
from simulator.content import Extent
from simulator.engine import Engine, EngineConfig
from simulator.profile import CPU_SMOLLM2, StepProfile
from simulator.request import Request
from workloads.program import Call, Program

MODEL = "m"
BYTES_PER_TOKEN = 4


@dataclass(slots=True)
class Served:
    """What became of one call; times in seconds since the start."""

    program: str
    call: str
    turn: int
    arrived: float
    first_token: float = 0.0
    finished: float = 0.0
    prompt: int = 0
    cached: int = 0

    @property
    def ttft(self) -> float:
        return self.first_token - self.arrived


@dataclass(slots=True)
class Outcome:
    """A whole replay."""

    calls: list[Served] = field(default_factory=list)
    arrivals: dict[str, float] = field(default_factory=dict)
    pins: dict[PinOutcome, int] = field(default_factory=dict)
    dispatches: list[Dispatch] = field(default_factory=list)
    preemptions: int = 0

    @property
    def completions(self) -> dict[str, float]:
        """Seconds from each program's arrival to its last token."""
        ends: dict[str, float] = {}
        for call in self.calls:
            ends[call.program] = max(ends.get(call.program, 0.0), call.finished)
        return {name: end - self.arrivals[name] for name, end in ends.items()}

    @property
    def mean_completion(self) -> float:
        return fmean(self.completions.values())

    @property
    def cached_share(self) -> float:
        return sum(call.cached for call in self.calls) / sum(call.prompt for call in self.calls)

    @property
    def longest_later_wait(self) -> float:
        """The longest time to first token of any call but a program's first."""
        return max(call.ttft for call in self.calls if call.turn)

    @property
    def makespan(self) -> float:
        return max(call.finished for call in self.calls)


class Virtual:
    """Replays programs through a brain onto one engine model (or, without a policy, straight onto it)."""

    def __init__(
        self,
        policy: PolicyConfig | None,
        config: EngineConfig,
        *,
        plugin: bool = True,
        announce_end: bool = True,
        profile: StepProfile = CPU_SMOLLM2,
        learned: dict[str, object] | None = None,
    ) -> None:
        self.policy = policy
        self.plugin = plugin
        self.announce_end = announce_end
        self.engine = Engine(config, profile)
        self.outcome = Outcome()
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._step_at: float | None = None
        self._cursor = 0
        self._live: dict[CallId, tuple[Program, Call, Served]] = {}
        self._ended: dict[tuple[str, str], float] = {}
        self._contents: dict[str, int] = {}
        self._wakeup: float | None = None
        if policy is not None:
            self.brain = Brain(policy, learned=learned)
            spec = EngineSpec(
                (MODEL,),
                config.kv_tokens,
                config.block_size,
                config.max_model_len,
                config.max_num_seqs,
                plugin,
                config.priority,
            )
            self._tell(EngineUp(0.0, EngineId("e"), spec))

    def run(self, programs: Sequence[Program]) -> Outcome:
        for program in programs:
            self.outcome.arrivals[program.id] = program.arrival_s
            for call in program.calls:
                if not call.after:
                    self._at(program.arrival_s, partial(self._arrive, program, call))
        while self._due or self._step_at is not None or (self._wakeup is not None and self._live):
            times = [
                self._due[0][0] if self._due else None,
                self._step_at,
                self._wakeup if self._live or self._due else None,
            ]
            self.now = max(self.now, min(time for time in times if time is not None))
            if self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            elif self._step_at is not None and self._step_at <= self.now:
                self._step()
            else:
                self._tell(Wakeup(self.now))
        self.outcome.preemptions = self.engine.preemptions
        return self.outcome

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, action))

    def _arrive(self, program: Program, call: Call) -> None:
        name = CallId(f"{program.id}:{call.id}")
        prompt = program.prompt_tokens()[call.id]
        served = Served(program.id, call.id, program.turns()[call.id], self.now, prompt=prompt)
        self.outcome.calls.append(served)
        self._live[name] = (program, call, served)
        if self.policy is None:
            self._submit(name, 0, None, 0.0)
            return
        extents = self._extents(program, call)
        marks, size = [], 0
        for extent in extents:
            size += extent.length * BYTES_PER_TOKEN
            marks.append(PrefixMark(extent.content, size))
        final = self.announce_end and call is program.calls[-1]
        key = ProgramKey(DEFAULT_TENANT, program.id)
        self._tell(
            CallArrived(self.now, name, key, MODEL, size, tuple(marks), max_output=call.output_tokens, final=final)
        )

    def _extents(self, program: Program, call: Call) -> list[Extent]:
        """The prompt's parts; an answer and what follows it are separate parts, as messages are."""
        calls = {item.id: item for item in program.calls}
        parts: list[Extent] = []
        if call.context is not None:
            before = calls[call.context]
            parts += self._extents(program, before)
            parts.append(Extent(self._content(f"{program.id}:{before.id}:out"), before.output_tokens))
        parts += [Extent(self._content(shared.id), shared.tokens) for shared in call.prefix]
        parts.append(Extent(self._content(f"{program.id}:{call.id}:in"), call.new_tokens))
        return parts

    def _content(self, name: str) -> int:
        return self._contents.setdefault(name, len(self._contents) + 1)

    def _submit(self, name: CallId, priority: int, rank: int | None, ttl: float) -> None:
        program, call, _ = self._live[name]
        parts = [
            *self._extents(program, call),
            Extent(self._content(f"{program.id}:{call.id}:out"), call.output_tokens),
        ]
        prompt = program.prompt_tokens()[call.id]
        owner = program.id if self.plugin and self.policy is not None else ""
        self.engine.add(Request(name, prompt, call.output_tokens, tuple(parts), priority, owner, rank, ttl), self.now)
        if self._step_at is None:
            self._step_at = self.now

    def _sent(self, name: CallId) -> None:
        self._tell(CallSent(self.now, name))

    def _step(self) -> None:
        outputs, self._step_at = self.engine.step(self.now)
        for output in outputs:
            name = CallId(output.request)
            program, call, served = self._live[name]
            if output.produced == 1:
                served.first_token = self.now
                served.cached = output.cached
                if self.policy is not None:
                    self._tell(CallFirstToken(self.now, name))
            if output.finished:
                self._finish(name, program, call, served)
        if self.policy is not None:
            self._report_pins()

    def _finish(self, name: CallId, program: Program, call: Call, served: Served) -> None:
        served.finished = self.now
        del self._live[name]
        if self.policy is not None:
            tools = tuple(edge.tool for later in program.calls for edge in later.after if edge.call == call.id)
            usage = Usage(served.prompt, call.output_tokens, served.cached)
            self._tell(CallFinished(self.now, name, usage, tools))
        self._ended[program.id, call.id] = self.now
        for later in program.calls:
            edges = [(self._ended.get((program.id, edge.call)), edge) for edge in later.after]
            if any(edge.call == call.id for _, edge in edges) and all(ended is not None for ended, _ in edges):
                start = max(ended + edge.gap_s for ended, edge in edges if ended is not None)
                self._at(start, partial(self._arrive, program, later))

    def _report_pins(self) -> None:
        for report in self.engine.reports_since(self._cursor, self.now):
            self._cursor += 1
            self.outcome.pins[report.outcome] = self.outcome.pins.get(report.outcome, 0) + 1
            key = ProgramKey(DEFAULT_TENANT, report.program)
            self._tell(PinReported(self.now, key, EngineId("e"), PinOutcome(report.outcome), report.tokens))

    def _tell(self, event: Event) -> None:
        decision = self.brain.handle(event)
        self._wakeup = decision.next_wakeup
        for action in decision.actions:
            match action:
                case Dispatch(call=name):
                    self.outcome.dispatches.append(action)
                    self._submit(name, action.priority, action.rank, action.ttl)
                    self._at(self.now, partial(self._sent, name))
                case Retain(program=key, ttl=ttl):
                    self.engine.retain(key.program, ttl, self.now)
                case Release(program=key):
                    self.engine.retain(key.program, 0.0, self.now)
                case Abort() | Reject():
                    raise AssertionError(f"nothing here is aborted or rejected: {action}")
