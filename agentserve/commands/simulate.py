"""`agentserve simulate`: replay a trace in virtual time under several policies, and compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Never

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agentserve.policyfile import read_policy
from scheduler import registry
from scheduler.policy import PRESETS, PolicyConfig, PolicyError, parse_policy
from scheduler.types import Seconds, Tokens
from simulator import report
from simulator.compare import Comparison, Setting, compare
from simulator.export import write_json
from simulator.fleet import FleetError, parse_fleet
from simulator.gateway import SimulationError
from simulator.intervals import Ratio
from simulator.ledger import Detail
from simulator.network import Constant, Network
from simulator.result import ProgramResult, Simulation
from simulator.summary import FIGURES
from simulator.trace import Trace
from workloads import traces
from workloads.program import WorkloadError

out = Console(highlight=False)
err = Console(highlight=False, stderr=True)


class Gaps(StrEnum):
    """How long tools run."""

    RECORDED = "recorded"
    REDRAWN = "redrawn"


@dataclass(frozen=True, slots=True)
class Files:
    """What to write, and where."""

    json: Path | None
    html: Path | None
    chrome_trace: Path | None

    @property
    def detailed(self) -> bool:
        """Whether one of them shows single calls."""
        return self.html is not None or self.chrome_trace is not None

    def check(self) -> None:
        """Ends the command if a file cannot be there."""
        for path in (self.json, self.html, self.chrome_trace):
            if path is not None and not path.absolute().parent.is_dir():
                _fail(f"{path} cannot be written: {path.absolute().parent} is no folder")

    def write(self, comparison: Comparison) -> None:
        """Writes them; each is there whole or not at all."""
        if self.json is not None:
            write_json(comparison, self.json)
        if self.html is not None:
            report.write_html(comparison.simulations, self.html)
        if self.chrome_trace is not None:
            report.write_chrome_trace(comparison.simulations[0], self.chrome_trace)


def simulate(
    trace: Annotated[Path, typer.Argument(help="A trace of any known form: a file, a folder or an archive.")],
    engines: Annotated[str, typer.Option(help="The fleet, as 2xA100:w4,1xA6000:w4, or `hexgen`.")],
    model: Annotated[str | None, typer.Option(help="What the engines serve, as llama-3.1-70b.")] = None,
    policy: Annotated[
        str, typer.Option(help="Presets or policy files (YAML), by commas; the first is what others stand against.")
    ] = "vllm,continuum,agentserve",
    rate: Annotated[
        float | None, typer.Option(help="Programs a second, as a Poisson process; without it, as recorded.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed: of arrivals, bytes a token and redrawn gaps.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, each with the next seed.")] = 1,
    programs: Annotated[int | None, typer.Option(min=1, help="Use only so many programs of the trace.")] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Scale longer programs to so many tokens; else to what the fleet takes.")
    ] = None,
    gaps: Annotated[Gaps, typer.Option(help="Tool times as recorded, or redrawn from public quantiles.")] = (
        Gaps.RECORDED
    ),
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave damaged lines out.")] = False,
    client_delay: Annotated[float, typer.Option(min=0, help="Seconds from a client to the gateway.")] = 0.0,
    engine_delay: Annotated[float, typer.Option(min=0, help="Seconds from the gateway to an engine.")] = 0.0,
    alone: Annotated[bool, typer.Option(help="Also run every program alone, for slowdowns.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write all figures and programs here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
    chrome_trace: Annotated[
        Path | None, typer.Option(help="Write a trace of the first policy for Perfetto here.")
    ] = None,
) -> None:
    """Replay a trace on a simulated fleet under several policies, and compare them."""
    files = Files(json, html, chrome_trace)
    files.check()
    if rate is not None and not rate > 0:
        _fail(f"--rate must be above 0 programs a second, not {rate:g}")
    try:
        fleet = parse_fleet(engines, model)
        limit = min(engine.config.max_model_len for engine in fleet)
        read = partial(
            traces.load,
            trace,
            skip_damaged=skip_damaged,
            limit=programs,
            context_tokens=context or limit,
            gaps=gaps.value,
            seed=seed,
        )
        network = Network(Constant(client_delay), Constant(engine_delay))
        chosen = read_policies(policy)
        with err.status("reading the trace"):
            workload = Trace(read, fleet)
        setting = Setting(fleet, rate, network)
        runs = len(chosen) * seeds + alone
        with _bar(workload.programs * runs) as bar:
            comparison = compare(
                workload,
                setting,
                chosen,
                range(seed, seed + seeds),
                detail=Detail() if files.detailed else None,
                alone=alone,
                on_program=bar,
            )
        files.write(comparison)
    except (FleetError, WorkloadError, PolicyError, SimulationError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        err.print("interrupted; nothing was written")
        raise typer.Exit(130) from None
    out.print(_head(workload, context or limit), _table(comparison), _cost(comparison.simulations), sep="\n")


def read_policies(text: str) -> list[PolicyConfig]:
    """The policies of a list of preset names and policy files.

    Raises:
        PolicyError: one is neither, is not valid, or is there twice.
    """
    chosen = [_read_policy(part.strip()) for part in text.split(",")]
    names = [policy.name for policy in chosen]
    for name in names:
        if names.count(name) > 1:
            raise PolicyError(f"policy {name!r} is there twice")
    for policy in chosen:
        registry.build(policy)
    return chosen


def _read_policy(part: str) -> PolicyConfig:
    path = Path(part)
    return parse_policy(part) if part in PRESETS or not path.is_file() else read_policy(path)


class _Bar:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("programs", total=total)

    def __call__(self, program: ProgramResult) -> None:
        self._progress.advance(self._task)


@contextmanager
def _bar(total: int) -> Iterator[_Bar]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        yield _Bar(progress, total)


def _head(workload: Trace, limit: Tokens) -> str:
    return (
        f"{workload.programs:,} programs of {workload.calls:,} calls; programs with more than {limit:,} tokens of "
        f"context are scaled to that"
    )


def _table(comparison: Comparison) -> Table:
    """Figures of each policy, and how they compare with the first one's."""
    table = Table("figure")
    for policy in comparison.policies:
        table.add_column(escape(policy), justify="right")
    for figure in FIGURES:
        cells = [figure.write(comparison.mean(figure, comparison.policies[0]))]
        for policy in comparison.policies[1:]:
            value = figure.write(comparison.mean(figure, policy))
            cells.append(f"{value}{_against(comparison.ratio(figure, policy))}")
        table.add_row(figure.title, *cells)
    return table


def _against(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f}–{ratio.high:.2f})"
    style = "bold" if ratio.separated else "dim"
    return f" [{style}]×{ratio.value:.2f}{interval}[/]"


def _cost(simulations: Sequence[Simulation]) -> str:
    calls = sum(program.calls for simulation in simulations for program in simulation.programs)
    wall: Seconds = sum(simulation.cost.wall for simulation in simulations)
    return f"{calls:,} calls simulated in {wall:.1f} s: {calls / wall:,.0f} a second"


def _fail(message: str) -> Never:
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(2)
