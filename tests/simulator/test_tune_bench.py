"""What a setting is judged on: traffic drawn anew for each seed, objectives, and where simulations run."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType

import pytest

from scheduler.policy import PRESETS
from simulator.compare import Setting
from simulator.result import ProgramResult
from simulator.trace import Trace
from simulator.tune.bench import Bench, Job
from simulator.tune.gain import Gain
from simulator.tune.objective import Objective, ObjectiveError, parse_objective
from simulator.tune.resample import resampled
from simulator.tune.workers import Run, WorkersError, here, on_ray, processes
from simulator.world import simulate
from tests.simulator.simulations import simulation
from tests.simulator.worlds import chain, fleet, small
from workloads.program import Call, Edge, Program, check_workload

AGENTSERVE = PRESETS["agentserve"]
JOBS = [Job(AGENTSERVE, 1), Job(PRESETS["vllm"], 1), Job(AGENTSERVE, 2)]
PARENT = Program("p", 3.0, (Call("0", 100, 10), Call("1", 10, 10, (Edge("0"), Edge("0", program="c")), "0")))
CHILD = Program("c", 4.0, (Call("0", 50, 10, (Edge("0", 2.0, program="p"),)),), parent="p")


def bench(objective: str = "mean_completion", rate: float | None = None) -> Bench:
    return Bench.of(Trace(lambda: small(6), fleet()), Setting(fleet(), rate), parse_objective(objective))


# --- traffic ----------------------------------------------------------------------------------------------------------


def test_resampled_traffic_has_the_recorded_arrivals_and_programs_drawn_from_it() -> None:
    recorded = small(40)
    drawn = list(resampled([(program,) for program in recorded], seed=1))
    assert [program.arrival_s for program in drawn] == [program.arrival_s for program in recorded]
    check_workload(drawn)
    origins = Counter(program.id.partition("#")[0] for program in drawn)
    assert set(origins) < {program.id for program in recorded}
    assert max(origins.values()) > 1
    calls = {program.id: program.calls for program in recorded}
    assert all(program.calls == calls[program.id.partition("#")[0]] for program in drawn)


def test_a_seed_is_always_the_same_traffic() -> None:
    families = [(program,) for program in small(40)]
    assert list(resampled(families, 1)) == list(resampled(families, 1))
    assert list(resampled(families, 1)) != list(resampled(families, 2))


def test_children_are_drawn_with_their_parents_and_wait_for_their_calls() -> None:
    drawn = list(resampled([(chain("q"),), (PARENT, CHILD), (chain("r", arrival=9.0),)], seed=4))
    check_workload(drawn)
    families = [program for program in drawn if program.id.startswith(("p", "c"))]
    assert families, "the seed draws no family: choose another"
    parent, child = families[:2]
    number = parent.id.removeprefix("p")
    assert (child.id, child.parent) == (f"c{number}", parent.id)
    assert child.arrival_s - parent.arrival_s == 1.0
    assert [edge.program for edge in parent.calls[1].after] == ["", child.id]
    assert [edge.program for edge in child.calls[0].after] == [parent.id]


def test_with_a_rate_programs_arrive_at_that_rate() -> None:
    slow, fast = (bench(rate=rate).loss(JOBS[0]) for rate in (0.001, 10.0))
    assert fast > slow + 0.1


# --- objectives -------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_programs_without_a_parent() -> None:
    run = simulation()
    times = sorted(program.completion for program in run.programs)
    assert parse_objective("mean_completion").loss(run) == pytest.approx(math.log(sum(times) / len(times)))
    assert parse_objective(f"slo@{times[1]:g}").loss(run) == sum(time > times[1] for time in times) / len(times)
    assert math.log(times[-2]) <= parse_objective("p95").loss(run) <= math.log(times[-1])


def test_attainment_counts_the_programs_with_a_deadline_that_miss_it() -> None:
    programs = small(6)
    run = simulate(programs, fleet(), PRESETS["vllm"])
    times = {program.program: program.completion for program in run.programs}
    dated = [replace(program, objective_s=times[program.id]) for program in programs[:3]]
    dated += [replace(programs[3], objective_s=0.9 * times[programs[3].id]), *programs[4:]]
    loss = parse_objective("attainment").loss(simulate(dated, fleet(), PRESETS["vllm"]))
    assert loss == pytest.approx(0.25), "three of the four are in time, and two have no deadline"
    with pytest.raises(ObjectiveError, match="none of the trace's has one"):
        parse_objective("attainment").loss(run)


def test_a_gain_is_told_in_percent_and_that_of_a_share_in_points() -> None:
    gain = Gain(math.log(1 / 0.9), math.log(1 / 0.95), math.log(1 / 0.85))
    assert parse_objective("p95").write(gain) == "P95 completion lower by 10.0 % (95 % interval 5.0 to 15.0)"
    told = parse_objective("slo@30").write(Gain(0.02, -0.01, 0.05))
    assert told == "programs later than 30 s lower by 2.0 points (95 % interval -1.0 to 5.0)"


@pytest.mark.parametrize("text", ["mean_completion", "p95", "attainment", "slo@30", "slo@0.5"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_objective(text)) == text


@pytest.mark.parametrize("text", ["", "mean", "slo", "slo@", "slo@0", "slo@-1", "slo@1e9x", "P95"])
def test_another_objective_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ObjectiveError, match=r"mean_completion, p95, attainment for .* or slo@X"):
        parse_objective(text)


# --- workers ----------------------------------------------------------------------------------------------------------


def test_processes_give_the_losses_of_this_one_in_the_same_order() -> None:
    with here(bench()) as run:
        expected = list(run(JOBS))
    assert len(set(expected)) == 3
    with processes(bench(), 2) as run:
        assert list(run(JOBS)) == expected


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkersError, match=r"agentserve\[ray\]"), on_ray(bench(), "auto"):
        pass


class FakeRay(ModuleType):
    """As much of Ray as is used, in this process."""

    def __init__(self, address: str) -> None:
        super().__init__("ray")
        self.address = address
        self.running = False

    def init(self, address: str, log_to_driver: bool) -> None:
        if address != self.address:
            raise ConnectionError("nobody there")
        self.running = True

    def shutdown(self) -> None:
        self.running = False

    def put(self, value: Bench) -> Bench:
        return value

    def remote(self, function: Callable[..., float]) -> FakeRemote:
        return FakeRemote(function)

    def get(self, tasks: Sequence[Callable[[], float]]) -> list[float]:
        return [task() for task in tasks]


class FakeRemote:
    def __init__(self, function: Callable[..., float]) -> None:
        self.function = function

    def remote(self, *arguments: object) -> Callable[[], float]:
        return lambda: self.function(*arguments)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    fake = FakeRay("10.0.0.1:6379")
    monkeypatch.setitem(sys.modules, "ray", fake)
    yield fake
    assert not fake.running


def losses(run: Run) -> list[float]:
    return list(run(JOBS))


def test_on_ray_it_gives_the_same_losses(ray: FakeRay) -> None:
    with here(bench()) as run:
        expected = losses(run)
    with on_ray(bench(), ray.address) as run:
        assert ray.running
        assert losses(run) == expected


def test_a_cluster_that_does_not_answer_is_named(ray: FakeRay) -> None:
    with (
        pytest.raises(WorkersError, match="no Ray cluster answers at 'elsewhere': nobody there"),
        on_ray(bench(), "elsewhere"),
    ):
        pass


def test_only_programs_without_a_parent_are_late() -> None:
    run = simulation(programs=2)
    late = ProgramResult("child", "", run.programs[0].program, 0.0, 1000.0, 1, 1, 0, 1)
    with_child = type(run)(run.policy, run.seed, (*run.programs, late), run.engines, run.waits, run.makespan, run.cost)
    assert Objective(parse_objective("slo@500").kind, 500.0).loss(with_child) == 0.0


def test_gaps_are_redrawn_by_each_seed() -> None:
    recorded = bench()
    redrawn = Bench(recorded.families, Setting(fleet(), gaps=True), recorded.objective)
    losses = [run.loss(Job(AGENTSERVE, seed)) for run in (recorded, redrawn) for seed in (1, 2)]
    assert len(set(losses)) == 4
