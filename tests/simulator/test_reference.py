"""The engine model against the reference: block by block, step by step, with the vLLM plugin's own retention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.content import Extent
from simulator.engine import Engine, EngineConfig
from simulator.footprint import Footprint
from simulator.profile import StepProfile
from simulator.request import Output, Request
from simulator.retention import Report
from tests.simulator.reference.engine import ReferenceEngine


@dataclass(frozen=True)
class Add:
    """A request that goes on from an earlier one's context, or from nothing."""

    history: int | None
    kept: float
    new: int
    content: int
    output: int
    answer: int
    priority: int
    program: str
    rank: int | None
    ttl: float
    quiet: int


@dataclass(frozen=True)
class Abort:
    index: int


@dataclass(frozen=True)
class Ask:
    program: str
    ttl: float


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Look:
    """Somebody reads the reports and the gauges."""


Operation: TypeAlias = Add | Abort | Ask | Wait | Look

programs = st.sampled_from(["", "p", "q", "r"])
ttls = st.sampled_from([0.0, 3.0, 50.0])
adds = st.builds(
    Add,
    history=st.none() | st.integers(0, 6),
    kept=st.sampled_from([1.0, 1.0, 0.5]),
    new=st.integers(1, 14),
    content=st.integers(1, 3),
    output=st.integers(1, 12),
    answer=st.integers(7, 9),
    priority=st.integers(0, 2),
    program=programs,
    rank=st.none() | st.integers(0, 3),
    ttl=ttls,
    quiet=st.sampled_from([0, 1, 5, 100, 100, 100]),
)
operations = st.lists(
    adds
    | adds
    | st.builds(Abort, st.integers(0, 12))
    | st.builds(Ask, st.sampled_from(["p", "q", "r", "nobody"]), ttls)
    | st.builds(Wait, st.sampled_from([0.0, 0.3, 1.0, 2.7, 9.1, 40.0]))
    | st.just(Look()),
    max_size=30,
)
configs = st.builds(
    EngineConfig,
    num_blocks=st.integers(10, 24),
    block_size=st.sampled_from([1, 2, 3, 4, 4]),
    max_model_len=st.just(1),
    max_num_seqs=st.integers(1, 5),
    max_num_batched_tokens=st.integers(5, 20),
    priority=st.booleans(),
    guard=st.booleans(),
    long_prefill_token_threshold=st.sampled_from([0, 0, 3]),
    watermark=st.sampled_from([0.0, 0.0, 0.1]),
    offload_tokens=st.sampled_from([0, 0, 20, 60]),
    load_tokens_per_s=st.sampled_from([64.0, float("inf")]),
).map(lambda config: replace(config, max_model_len=config.kv_tokens))

footprints = st.builds(Footprint, st.sampled_from([0.0, 0.25, 1 / 3, 0.5]), st.integers(1, 24))


def without_pins(script: list[Operation]) -> Iterator[Operation]:
    """The plugin counts blocks and not their memory, so there is nothing to compare it with."""
    for operation in script:
        if isinstance(operation, Add):
            yield replace(operation, ttl=0.0)
        elif not isinstance(operation, Ask):
            yield operation


# sums of powers of two: adding them up in another order changes nothing
PROFILE = StepProfile("test", "test", 1.0, 1 / 64, 1 / 4096, 1 / 128, 1 / 8192)


@dataclass
class Course:
    """Everything that can be seen of a run."""

    outputs: list[tuple[float, Output]] = field(default_factory=list)
    reports: list[tuple[float, Report]] = field(default_factory=list)
    gauges: list[tuple[float, int, int, int]] = field(default_factory=list)
    preemptions: int = 0
    released: int = 0
    quiet: dict[str, int] = field(default_factory=dict)


class Drive:
    """An engine in virtual time. What happens at the end of a step happens before it."""

    def __init__(self, engine: Engine | ReferenceEngine, *, doubling: bool = False) -> None:
        self.engine = engine
        self.doubling = doubling
        """Whether a request of which an output tells more than expected is quiet until it has twice as much."""
        self.course = Course()
        self.now = 0.0
        self.contexts: list[list[Extent]] = []
        self.names = count()

    def play(self, script: list[Operation]) -> Course:
        for operation in script:
            self.perform(operation)
            if self.engine.next_time is None:
                self.step()
        while self.engine.next_time is not None:
            self.now = self.engine.next_time
            self.step()
        self.look(self.now + 1000)
        self.course.preemptions = self.engine.preemptions
        self.course.released = self.engine.retention.released
        return self.course

    def perform(self, operation: Operation) -> None:
        match operation:
            case Add():
                self.add(operation)
            case Abort(index):
                self.engine.abort(f"r{index}", self.now)
            case Ask(program, ttl):
                self.engine.retain(program, ttl, self.now)
            case Wait(seconds):
                self.wait(self.now + seconds)
            case Look():
                self.look(self.now)

    def add(self, add: Add) -> None:
        past: list[Extent] = []
        if add.history is not None and add.history < len(self.contexts):
            past = self.contexts[add.history]
            past = past[: round(len(past) * add.kept)]
        prompt = [*past, Extent(add.content, add.new)]
        room = self.engine.config.max_model_len - sum(extent.length for extent in prompt)
        if room < 1:
            return
        context = [*prompt, Extent(add.answer, min(add.output, room))]
        self.contexts.append(context)
        name = f"r{next(self.names)}"
        self.course.quiet[name] = add.quiet
        prompt_tokens = sum(extent.length for extent in prompt)
        self.engine.add(
            Request(
                name,
                prompt_tokens,
                context[-1].length,
                tuple(context),
                add.priority,
                add.program,
                add.rank,
                add.ttl,
                add.quiet,
            ),
            self.now,
        )

    def wait(self, until: float) -> None:
        while (ends := self.engine.next_time) is not None and ends < until:
            self.now = ends
            self.step()
        self.now = until

    def step(self) -> None:
        result = self.engine.step(self.now)
        assert result.next_time == self.engine.next_time
        self.course.outputs += [(self.now, output) for output in result.outputs]
        self.expect_more(result.outputs)
        self.read_reports(self.now)
        self.check()

    def expect_more(self, outputs: tuple[Output, ...]) -> None:
        if not self.doubling:
            return
        for output in outputs:
            if output.produced > self.course.quiet[output.request] and isinstance(self.engine, Engine):
                self.course.quiet[output.request] = 2 * output.produced
                self.engine.hush(output.request, 2 * output.produced)

    def look(self, now: float) -> None:
        self.read_reports(now)
        if isinstance(self.engine, Engine):
            self.engine.advance(now)
        self.course.gauges.append((now, self.engine.running, self.engine.waiting, self.engine.free_blocks))
        self.check()

    def read_reports(self, now: float) -> None:
        for report in self.engine.reports_since(len(self.course.reports), now):
            self.course.reports.append((now, report))

    def check(self) -> None:
        if isinstance(self.engine, Engine):
            self.engine.check_integrity()


def told(course: Course, *, doubling: bool) -> list[tuple[float, Output]]:
    """The outputs that the driver's rule picks from those of every token."""
    found = []
    for at, output in course.outputs:
        news = output.produced > course.quiet[output.request]
        if news and doubling:
            course.quiet[output.request] = 2 * output.produced
        if news or output.produced == 1 or output.finished:
            found.append((at, output))
    return found


@settings(max_examples=1500)
@given(configs, operations)
def test_runs_of_blocks_change_nothing(config: EngineConfig, script: list[Operation]) -> None:
    steps = Drive(ReferenceEngine(config, PROFILE)).play(script)
    steps.outputs = told(steps, doubling=False)
    assert Drive(Engine(config, PROFILE)).play(script) == steps


@settings(max_examples=800)
@given(configs, operations, footprints, st.booleans())
def test_runs_change_nothing_where_blocks_share_memory(
    config: EngineConfig, script: list[Operation], footprint: Footprint, doubling: bool
) -> None:
    longest = footprint.reach(config.num_blocks, config.block_size, 2 * config.num_blocks) * config.block_size
    config, script = replace(config, footprint=footprint, max_model_len=longest), list(without_pins(script))
    runs = Drive(Engine(config, PROFILE), doubling=doubling).play(script)
    steps = Drive(ReferenceEngine(config, PROFILE)).play(script)
    steps.outputs = told(steps, doubling=doubling)
    assert runs == steps


@settings(max_examples=300)
@given(configs, operations, footprints)
def test_no_block_is_lost_where_blocks_share_memory(
    config: EngineConfig, script: list[Operation], footprint: Footprint
) -> None:
    engine = Engine(replace(config, footprint=footprint), PROFILE)
    Drive(engine).play(script)
    assert engine.free_blocks == config.num_blocks


@settings(max_examples=1500)
@given(configs, operations)
def test_runs_of_steps_change_nothing(config: EngineConfig, script: list[Operation]) -> None:
    runs = Drive(Engine(config, PROFILE), doubling=True).play(script)
    steps = Drive(ReferenceEngine(config, PROFILE)).play(script)
    steps.outputs = told(steps, doubling=True)
    assert runs == steps
