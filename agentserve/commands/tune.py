"""`agentserve tune`: search better parameters for a policy, by simulating a trace under many settings of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from agentserve import __version__
from agentserve.commands import traffic
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
    warn,
)
from agentserve.commands.progress import bar
from agentserve.policyfile import SUFFIXES, write_policy
from scheduler.policy import PolicyConfig, PolicyError
from scheduler.types import Seconds
from simulator.compare import Setting
from simulator.fleet import FleetError, parse_fleet
from simulator.gateway import SimulationError
from simulator.trace import Trace
from simulator.tune import workers
from simulator.tune.bench import Bench
from simulator.tune.export import document
from simulator.tune.installed import HOW_TO_INSTALL, has_optuna
from simulator.tune.objective import Objective, ObjectiveError, parse_objective
from simulator.tune.outcome import OnTrial, Outcome, Trial
from simulator.tune.plan import Plan
from simulator.tune.space import Knob, knobs
from simulator.tune.workers import Run, WorkersError
from simulator.whole import write_json
from workloads.program import WorkloadError


def tune(
    context: typer.Context,
    trace: traffic.TraceArgument,
    engines: traffic.EnginesOption,
    model: traffic.ModelOption = None,
    objective: Annotated[
        str,
        typer.Option(
            help="What to lower: mean_completion, p95, attainment (programs later than their deadline), or slo@X: programs that take longer than X s."
        ),
    ] = "mean_completion",
    budget: Annotated[int, typer.Option(min=2, help="Settings to try at most, the policy as it is among them.")] = 200,
    policy: Annotated[str, typer.Option(help="The preset or policy file (YAML) to improve.")] = "agentserve",
    rate: traffic.RateOption = None,
    seed: Annotated[int, typer.Option(help="The first seed: of programs, arrivals, gaps, and the search itself.")] = 1,
    seeds: Annotated[
        int, typer.Option(min=2, help="Simulations of a setting; the winner gets as many again twice.")
    ] = 8,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; without it, one a core.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Simulate on this Ray cluster instead, as `auto`.")
    ] = None,
    programs: traffic.ProgramsOption = None,
    context_tokens: traffic.ContextOption = None,
    gaps: traffic.GapsOption = traffic.Gaps.RECORDED,
    skip_damaged: traffic.SkipDamagedOption = False,
    output: Annotated[Path, typer.Option("--out", help="Write the policy here, for `policy:` of a configuration.")] = (
        Path("policy.yaml")
    ),
    figures: FiguresOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search better parameters for a policy, by simulating a trace under many settings of them."""
    if not has_optuna():
        fail(HOW_TO_INSTALL)
    check_rate(rate)
    if output.suffix not in SUFFIXES:
        fail(
            f"--out must end with {' or '.join(SUFFIXES)}, or no configuration could name it as its policy, not {output}"
        )
    if ray is not None and jobs is not None:
        fail("--jobs are processes of this machine, and --ray simulates elsewhere: give one of them")
    check_output(output, figures)
    started = time.monotonic()
    try:
        aim = parse_objective(objective)
        fleet = parse_fleet(engines, model)
        start = _one_policy(policy)
        searched = knobs(start, len(fleet))
        limit = context_tokens or traffic.context_of(fleet)
        file = traffic.TraceFile(trace, skip_damaged=skip_damaged, programs=programs, context=limit, model=model)
        with err.status("reading the trace"):
            workload = Trace(file, fleet)
            bench = Bench.of(workload, Setting(fleet, rate, gaps=gaps is traffic.Gaps.REDRAWN), aim)
        for line in file.left_out():
            warn(line)
        with _workers(bench, jobs, ray) as run, _bar(budget, aim) as on_trial:
            outcome = _search(start, searched, Plan(budget, seeds, seed), run, on_trial)
        command = command_line(context, "tune")
        write_policy(output, outcome.policy, _comment(outcome, aim, command))
        found = document(outcome, aim, command)
        if figures is not None:
            write_json(figures, found)
    except (FleetError, WorkloadError, PolicyError, SimulationError, ObjectiveError, WorkersError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        interrupted()
    if as_json:
        print_json({**found, "out": str(output)})
        return
    told = _result(outcome, aim), _written(outcome, output), _cost(outcome, time.monotonic() - started)
    out.print(_table(searched, outcome), *map(escape, told), sep="\n")


def _search(policy: PolicyConfig, searched: Sequence[Knob], plan: Plan, run: Run, on_trial: OnTrial) -> Outcome:
    from simulator.tune.search import Search  # Optuna takes a second to import

    return Search(policy, searched, plan, run, on_trial).outcome()


def _one_policy(text: str) -> PolicyConfig:
    """The policy to be improved.

    Raises:
        PolicyError: it is none, or there are several.
    """
    chosen = read_policies(text)
    if len(chosen) > 1:
        raise PolicyError(f"--policy is the one policy to improve, not {text!r}")
    return chosen[0]


def _workers(bench: Bench, jobs: int | None, ray: str | None) -> AbstractContextManager[Run]:
    if ray is not None:
        return workers.on_ray(bench, ray)
    count = jobs or os.cpu_count() or 1
    return workers.here(bench) if count == 1 else workers.processes(bench, count)


@contextmanager
def _bar(budget: int, objective: Objective) -> Iterator[OnTrial]:
    """Shows how many settings were tried, and the best gain of one that ran with all seeds."""
    with bar("settings", budget) as shown:
        best = 0.0

        def advance(trial: Trial) -> None:
            nonlocal best
            if not trial.dropped:
                best = max(best, trial.gain.value)
            shown.say(f"settings; {objective.title} {objective.percent(best):.1f} {objective.unit} lower so far")
            shown.advance()

        yield advance


# --- what is told -----------------------------------------------------------------------------------------------------


def _table(searched: Sequence[Knob], outcome: Outcome) -> Table:
    """The parameters: as they were, and as the winner has them."""
    table = Table(Column("parameter", overflow="fold"), "default", "best found", "searched")
    for knob in searched:
        tried = f"{knob.range.low:g} to {knob.range.high:g}, {knob.range.scale.value}"
        best = outcome.values.get(knob.parameter, knob.default)
        table.add_row(str(knob.parameter), f"{knob.default:g}", f"{best:g}", tried)
    return table


def _result(outcome: Outcome, objective: Objective) -> str:
    """One sentence: how much better the winner is, or that it is not."""
    if outcome.best == outcome.default:
        return f"No setting was better than {outcome.default.name!r} as it is."
    measured = f"{objective.write(outcome.gain)}, {outcome.fresh} fresh seeds"
    if outcome.improved:
        return f"The best setting against {outcome.default.name!r}: {measured}."
    return f"No gain for certain. The best setting against {outcome.default.name!r}: {measured}."


def _written(outcome: Outcome, path: Path) -> str:
    what = "the best setting" if outcome.improved else f"the policy {outcome.default.name!r} as it was"
    return f"{path} holds {what}"


def _cost(outcome: Outcome, seconds: Seconds) -> str:
    why = "the best one stands apart and gets no better" if outcome.separated else "the budget is spent"
    return f"{len(outcome.trials)} settings, {outcome.simulations:,} simulations, {seconds:,.0f} s: {why}"


def _comment(outcome: Outcome, objective: Objective, command: str) -> list[str]:
    """How the policy of the file was found."""
    return [
        *command.splitlines(),
        f"agentserve {__version__}",
        f"{len(outcome.trials)} settings, {outcome.simulations:,} simulations. {_result(outcome, objective)}",
        *(() if outcome.improved else (f"This is the policy {outcome.default.name!r} as it was.",)),
    ]
