"""What holds whatever an engine is asked to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import Engine, EngineConfig
from simulator.profile import StepProfile, StepWork
from tests.simulator.driver import Drive, request


@dataclass(frozen=True)
class Add:
    content: int
    prompt: int
    output: int
    priority: int
    program: str
    rank: int | None
    ttl: float


@dataclass(frozen=True)
class Abort:
    index: int


@dataclass(frozen=True)
class Ask:
    program: str
    ttl: float


@dataclass(frozen=True)
class Go:
    steps: int
    wait: float


PROFILE = StepProfile("test", "test", constant=1.0, prefill_token=0.01)
Operation: TypeAlias = Add | Abort | Ask | Go

programs = st.sampled_from(["", "p", "q", "r"])
ttls = st.sampled_from([0.0, 3.0, 50.0])
operations = st.lists(
    st.builds(
        Add,
        st.integers(1, 3),
        st.integers(1, 24),
        st.integers(1, 8),
        st.integers(0, 2),
        programs,
        st.none() | st.integers(0, 3),
        ttls,
    )
    | st.builds(Abort, st.integers(0, 20))
    | st.builds(Ask, st.sampled_from(["p", "q", "r", "nobody"]), ttls)
    | st.builds(Go, st.integers(0, 4), st.sampled_from([0.0, 0.0, 10.0])),
    max_size=30,
)
configs = st.builds(
    EngineConfig,
    num_blocks=st.integers(8, 16),
    block_size=st.just(4),
    max_model_len=st.just(32),
    max_num_seqs=st.integers(1, 5),
    max_num_batched_tokens=st.integers(5, 20),
    priority=st.booleans(),
    guard=st.booleans(),
)


@dataclass(frozen=True)
class Recorder(StepProfile):
    """Notes every step's work."""

    works: list[StepWork] = field(default_factory=list)

    def seconds(self, work: StepWork) -> float:
        self.works.append(work)
        return StepProfile.seconds(self, work)


class Run(NamedTuple):
    """A script that was run to its end: what was added, and which of it was aborted before it ended."""

    drive: Drive
    added: dict[str, Add]
    aborted: set[str]
    works: list[StepWork]


def play(config: EngineConfig, script: list[Operation], engine: Engine | None = None) -> Run:
    profile = Recorder(**asdict(PROFILE))
    drive = Drive(config, profile, engine)
    added: dict[str, Add] = {}
    aborted: set[str] = set()
    for operation in script:
        match operation:
            case Add(content, prompt, output, priority, program, rank, ttl):
                name = f"r{len(added)}"
                added[name] = operation
                extents = [(content, prompt)]
                drive.add(
                    request(name, extents, output, answer=9, priority=priority, program=program, rank=rank, ttl=ttl)
                )
            case Abort(index):
                name = f"r{index}"
                if name in added and name not in ended(drive):
                    aborted.add(name)
                drive.engine.abort(name, drive.now)
            case Ask(program, ttl):
                drive.engine.retain(program, ttl, drive.now)
            case Go(steps, wait):
                for _ in range(steps):
                    drive.step()
                if drive.next is None:
                    drive.wait(wait)
        drive.engine.check_integrity()
    drive.run()
    return Run(drive, added, aborted, profile.works)


def ended(drive: Drive) -> list[str]:
    return [output.request for _, output in drive.outputs if output.finished]


@settings(max_examples=300)
@given(configs, operations)
def test_nothing_is_lost(config: EngineConfig, script: list[Operation]) -> None:
    drive, added, aborted, _ = play(config, script)
    assert sorted(ended(drive)) == sorted(set(added) - aborted), "every request ends once, unless it was aborted"
    for name in ended(drive):
        produced = [output.produced for _, output in drive.outputs if output.request == name]
        assert produced == list(range(1, added[name].output + 1)), f"{name} said every token once, in order"
    assert drive.engine.free_blocks == config.num_blocks, "all memory is free again"
    assert (drive.engine.running, drive.engine.waiting) == (0, 0)
    drive.engine.reports_since(0, drive.now + 1000)
    drive.engine.check_integrity()
    assert drive.engine.retention.protected_blocks == 0, "all pins have ended"


@settings(max_examples=200)
@given(configs, operations)
def test_a_step_keeps_to_its_limits_and_takes_time(config: EngineConfig, script: list[Operation]) -> None:
    drive, _, _, works = play(config, script)
    for work in works:
        assert 0 < work.prefill_tokens + work.decode_batch <= config.max_num_batched_tokens
        assert work.decode_batch <= config.max_num_seqs
    times = [at for at, _ in drive.outputs]
    assert times == sorted(times)
    for name in set(ended(drive)):
        mine = [at for at, output in drive.outputs if output.request == name]
        assert all(later - earlier > 0.999 for earlier, later in pairwise(mine))


@settings(max_examples=100)
@given(configs, operations)
def test_the_same_script_gives_the_same_run(config: EngineConfig, script: list[Operation]) -> None:
    first, second = play(config, script).drive, play(config, script).drive
    assert first.outputs == second.outputs
    assert reports(first.engine) == reports(second.engine)


def reports(engine: Engine) -> list[tuple[str, str, int]]:
    return [(report.program, report.outcome.value, report.tokens) for report in engine.reports_since(0, 1e9)]
