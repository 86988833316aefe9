"""`agentserve validate`: replay a trace through real engines and through the simulator, and compare."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from agentserve.commands.common import (
    FiguresOption,
    JsonOption,
    check_output,
    check_rate,
    command_line,
    err,
    fail,
    interrupted,
    out,
    print_json,
    read_policies,
    run_interruptibly,
    warn,
)
from agentserve.commands.progress import Bar, bar
from agentserve.commands.traffic import ProgramsOption, RateOption, TraceFile
from agentserve.config import ConfigError, load
from agentserve.engines.base import EngineError
from agentserve.validation import table
from agentserve.validation.agreement import Pair, Verdict, ranking, verdicts
from agentserve.validation.export import document
from agentserve.validation.models import Untold, modelled, untold
from agentserve.validation.outcome import ReplayFailedError
from agentserve.validation.served import ServedGateway
from agentserve.validation.trial import SETTLE, Trial, judge, least_duration, measure, repeated, token_ratio
from scheduler.policy import PolicyConfig, PolicyError
from scheduler.types import Seconds, Tokens
from simulator.fleet import EngineModel
from simulator.gateway import SimulationError
from simulator.profile import ProfileError, read_profile
from simulator.whole import write_json
from workloads.arrivals import poisson
from workloads.client import ReplayEvent, ReplayStep
from workloads.program import Program, WorkloadError

Row = TypeVar("Row", Pair, Verdict)

USUAL_TOLERANCE = 0.05
CONTEXT_SHARE = 0.95
"""Of the shortest engine's context, that programs are scaled to: the tokens of real text are known only about."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked on the command line."""

    trace: Path
    model: str
    """What is asked for: what the first pool serves."""
    settings: Mapping[str, object]
    """The configuration as its file has it."""
    policies: Sequence[PolicyConfig]
    known: Mapping[str, Untold]
    repetitions: int
    programs: int | None
    rate: float | None
    seed: int
    idle_timeout: Seconds

    def file(self, limit: Tokens | None = None) -> TraceFile:
        """The trace, its programs scaled to a context if there is one."""
        return TraceFile(self.trace, programs=self.programs, context=limit, model=self.model)

    def workload(self, limit: Tokens | None = None) -> list[Program]:
        """The programs, scaled to a context if there is one.

        Raises:
            WorkloadError: the trace cannot be read, or a program does not fit.
        """
        return self.arriving(self.file(limit)())

    def arriving(self, programs: Iterable[Program]) -> list[Program]:
        """Programs with the arrivals that are asked for."""
        return list(programs) if self.rate is None else poisson(programs, self.rate, self.seed)


def validate(
    context: typer.Context,
    trace: Annotated[Path, typer.Option(help="A trace of any known form: a file, a folder or an archive.")],
    config: Annotated[Path, typer.Option(help="The gateway's configuration file; its first pool is used.")],
    profile: Annotated[
        Path | None, typer.Option(help="What `agentserve calibrate` wrote of these engines; emulated ones need none.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Presets or policy files, by commas; without it, the configuration's.")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="How often the trace is replayed under each policy.")] = 5,
    tolerance: Annotated[
        float, typer.Option(min=0.001, max=1, help="The error that completion times may have; others in proportion.")
    ] = USUAL_TOLERANCE,
    programs: ProgramsOption = None,
    rate: RateOption = None,
    seed: Annotated[int, typer.Option(help="Of those arrivals.")] = 1,
    figures: FiguresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a trace on real engines and in the simulator; ends with code 1 if a figure is not within its bound."""
    check_rate(rate)
    check_output(figures)
    try:
        checked = load(config)
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        chosen = [checked.policy] if policy is None else read_policies(policy)
        model = checked.pools[0].model
        known = untold(checked, model, None if profile is None else read_profile(profile))
        idle_timeout = checked.program_idle_timeout
        task = Task(trace, model, settings, chosen, known, repetitions, programs, rate, seed, idle_timeout)
        _announce(task)  # a trace with a mistake in it is told before anything is started
        trials = run_interruptibly(run(task))
        strictness = tolerance / USUAL_TOLERANCE
        within = _within(trials, strictness)
        found = document(trials, within=within, command=command_line(context, "validate"))
        if figures is not None:
            write_json(figures, found)
    except (
        ConfigError,
        PolicyError,
        ProfileError,
        WorkloadError,
        EngineError,
        ReplayFailedError,
        SimulationError,
    ) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be used: {error.strerror}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted("everything that was started has been stopped, and nothing was written")
    if as_json:
        print_json(found)
    else:
        _tell(trials, strictness, within=within)
    raise typer.Exit(0 if within else 1)


def _announce(task: Task) -> None:
    """Reads the trace, and tells how long its replays take at least: gaps are waited for in real time.

    Raises:
        WorkloadError: the trace cannot be read.
    """
    file = task.file()
    programs = task.arriving(file())
    for line in file.left_out():
        warn(line)
    count = len(task.policies) * task.repetitions
    least = least_duration(programs)
    err.print(
        f"{count} replays of {len(programs):,} programs, one after the other; gaps and arrivals alone take {_span(least)} "
        f"each, {_span(count * (least + SETTLE))} in all"
    )


def _span(seconds: Seconds) -> str:
    """A time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


async def run(task: Task) -> list[Trial]:
    """Runs every policy on the real engines, and then in the simulator.

    Raises:
        EngineError: the gateway or an engine did not come up.
        ReplayFailedError: calls failed.
        WorkloadError, SimulationError: as `traces.load` and `simulate`.
    """
    trials = []
    with tempfile.TemporaryDirectory(prefix="agentserve-validate-") as folder:
        for position, policy in enumerate(task.policies):
            with bar(policy.name, None, keep=True) as shown:
                replaying = _Replaying(shown, policy.name)
                gateway = ServedGateway(
                    task.settings, policy, Path(folder), f"gateway-{position}", list(task.known), replaying.say
                )
                trials.append(await _try(task, policy, gateway, replaying))
    return trials


async def _try(task: Task, policy: PolicyConfig, gateway: ServedGateway, replaying: _Replaying) -> Trial:
    async with gateway:
        engines = await gateway.engines()
        fleet = modelled(engines, task.known)
        replays = repeated(task.workload(_limit(fleet)), task.repetitions)
        ratio = await token_ratio(engines, task.model)
        replaying.expect(sum(len(program.calls) for replay in replays for program in replay))
        measured = await measure(gateway, task.model, replays, ratio, replaying)
    return judge(policy, fleet, replays, measured, task.idle_timeout)


def _limit(fleet: Sequence[EngineModel]) -> Tokens:
    return int(CONTEXT_SHARE * min(engine.config.max_model_len for engine in fleet))


@dataclass(frozen=True, slots=True)
class _Replaying:
    """Counts the calls that are answered under a policy."""

    shown: Bar
    policy: str

    def say(self, line: str) -> None:
        """Shows what is going on before there are calls."""
        self.shown.say(f"{self.policy}: {line}")

    def expect(self, calls: int) -> None:
        """There will be so many."""
        self.shown.say(self.policy)
        self.shown.expect(calls)

    def __call__(self, event: ReplayEvent) -> None:
        if event.step in (ReplayStep.CALL_FINISHED, ReplayStep.CALL_FAILED):
            self.shown.advance()


def _within(trials: Sequence[Trial], strictness: float) -> bool:
    """Whether every figure is within its bound, and both sides have the policies in one order."""
    found = (verdict for trial in trials for verdict in verdicts(trial.real, trial.simulated, strictness=strictness))
    return all(verdict.within for verdict in found) and all(pair.agrees for pair in _pairs(trials))


def _tell(trials: Sequence[Trial], strictness: float, *, within: bool) -> None:
    """Prints the tables."""
    for trial in trials:
        found = verdicts(trial.real, trial.simulated, strictness=strictness)
        out.print(_table(f"{trial.policy}, {len(trial.real)} repetitions", table.HEAD, found, table.verdict_cells))
    pairs = _pairs(trials)
    if pairs:
        out.print(_table("the order of policies", table.RANKING_HEAD, pairs, table.pair_cells))
    out.print(f"the simulator is {'' if within else 'not '}within every bound")


def _table(title: str, head: Sequence[str], rows: Sequence[Row], cells: Callable[[Row], Sequence[str]]) -> Table:
    printed = Table(title=escape(title), title_justify="left")
    for column, name in enumerate(head):
        printed.add_column(name, justify="right" if column else "left")
    for row in rows:
        printed.add_row(*(escape(cell) for cell in cells(row)))
    return printed


def _pairs(trials: Sequence[Trial]) -> list[Pair]:
    return ranking({trial.policy: trial.real for trial in trials}, {trial.policy: trial.simulated for trial in trials})
