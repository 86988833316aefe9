"""`agentserve simulate`: replay a trace in virtual time under several policies, and compare them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.markup import escape
from rich.table import Table

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
from agentserve.policyfile import choices
from scheduler.policy import PolicyError
from scheduler.types import Seconds, Tokens
from simulator import report
from simulator.compare import Comparison, Setting, compare, replays
from simulator.export import Plain, document
from simulator.fleet import EngineModel, FleetError, parse_fleet
from simulator.gateway import SimulationError
from simulator.intervals import Ratio
from simulator.ledger import Detail
from simulator.network import Constant, Network
from simulator.result import Simulation
from simulator.summary import FIGURES
from simulator.trace import Trace
from simulator.whole import write_json
from workloads.program import WorkloadError

USUAL_SEEDS = 5
EASY = 400_000
"""Simulated calls that are no long wait: without --seeds, there are no more seeds than these allow."""


@dataclass(frozen=True, slots=True)
class Files:
    """What to write, and where."""

    figures: Path | None
    html: Path | None
    chrome_trace: Path | None
    event_log: Path | None

    @property
    def detailed(self) -> bool:
        """Whether one of them shows single calls."""
        return self.html is not None or self.chrome_trace is not None

    def check(self) -> None:
        """Ends the command if a file cannot be there."""
        check_output(self.figures, self.html, self.chrome_trace, self.event_log)

    @contextmanager
    def logging(self) -> Iterator[TextIO | None]:
        """The event log to be written, if one is wanted."""
        if self.event_log is None:
            yield None
        else:
            with self.event_log.open("w", encoding="utf-8") as log:
                yield log

    def write(self, comparison: Comparison, about: Plain) -> None:
        """Writes them; each is there whole or not at all."""
        if self.figures is not None:
            write_json(self.figures, document(comparison, about))
        if self.html is not None:
            report.write_html(comparison.simulations, self.html)
        if self.chrome_trace is not None:
            report.write_chrome_trace(comparison.simulations[0], self.chrome_trace)


def simulate(
    context: typer.Context,
    trace: traffic.TraceArgument,
    engines: traffic.EnginesOption,
    model: traffic.ModelOption = None,
    policy: Annotated[
        str, typer.Option(help="Presets or policy files (YAML), by commas; the first is what others stand against.")
    ] = "vllm,continuum,agentserve",
    rate: traffic.RateOption = None,
    seed: Annotated[int, typer.Option(help="The first seed: of arrivals, bytes a token and redrawn gaps.")] = 1,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Repetitions, each with the next seed. Where neither --rate nor --gaps redrawn makes them differ, "
            "each draws its programs from those of the trace. Without it: 5, fewer of a long trace, and a single one "
            "of a trace that is replayed as recorded.",
        ),
    ] = None,
    programs: traffic.ProgramsOption = None,
    context_tokens: traffic.ContextOption = None,
    gaps: traffic.GapsOption = traffic.Gaps.RECORDED,
    skip_damaged: traffic.SkipDamagedOption = False,
    client_delay: Annotated[float, typer.Option(min=0, help="Seconds from a client to the gateway.")] = 0.0,
    engine_delay: Annotated[float, typer.Option(min=0, help="Seconds from the gateway to an engine.")] = 0.0,
    alone: Annotated[bool, typer.Option(help="Also run every program alone, for slowdowns.")] = True,
    figures: FiguresOption = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
    chrome_trace: Annotated[
        Path | None, typer.Option(help="Write a trace of the first policy for Perfetto here.")
    ] = None,
    event_log: Annotated[
        Path | None,
        typer.Option(help="Write the first policy's events here, for `agentserve replay-log FILE --dashboard`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a trace on a simulated fleet under several policies, and compare them."""
    files = Files(figures, html, chrome_trace, event_log)
    files.check()
    check_rate(rate)
    try:
        fleet = parse_fleet(engines, model)
        limit = context_tokens or traffic.context_of(fleet)
        chosen = read_policies(policy)
        file = traffic.TraceFile(trace, skip_damaged=skip_damaged, programs=programs, context=limit, model=model)
        with err.status("reading the trace"):
            workload = Trace(file, fleet)
        for line in file.left_out():
            warn(line)
        plain = rate is None and gaps is traffic.Gaps.RECORDED
        count = seeds or (1 if plain else usual_seeds(workload.calls, len(chosen)))
        setting = Setting(
            fleet,
            rate,
            Network(Constant(client_delay), Constant(engine_delay)),
            gaps=gaps is traffic.Gaps.REDRAWN,
            resample=plain and count > 1,
        )
        steps = workload.programs * replays(setting, len(chosen), count, alone=alone)
        with files.logging() as log, bar("programs", steps) as shown:
            comparison = compare(
                workload,
                setting,
                chosen,
                range(seed, seed + count),
                detail=Detail() if files.detailed else None,
                log=log,
                alone=alone,
                on_program=lambda _: shown.advance(),
            )
        about: Plain = {
            "command": command_line(context, "simulate"),
            "version": __version__,
            "trace": str(trace),
            "programs": workload.programs,
            "calls": workload.calls,
            "context": limit,
            "skip_damaged": skip_damaged,
            "rate": rate,
            "gaps": gaps.value,
            "drawn_by_seed": str(setting.draw),
            "client_delay": client_delay,
            "engine_delay": engine_delay,
            "parameters": {each.name: choices(each) for each in chosen},
            "fleet": [_engine(engine) for engine in fleet],
        }
        files.write(comparison, about)
    except (FleetError, WorkloadError, PolicyError, SimulationError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        interrupted()
    if as_json:
        print_json(document(comparison, about))
        return
    out.print(_head(workload, limit), _seeding(comparison, setting, asked=seeds is not None), sep="\n")
    out.print(_table(comparison), *_modelled(fleet), _cost(comparison.simulations), sep="\n")


def usual_seeds(calls: int, policies: int) -> int:
    """How many seeds a trace of so many calls is simulated with if nobody asks for a number."""
    return min(USUAL_SEEDS, max(1, EASY // (calls * policies)))


def _engine(engine: EngineModel) -> Plain:
    """An engine as it was simulated, so that a profile that has changed since is noticed."""
    return {
        "name": engine.name,
        "hardware": engine.hardware,
        "model": engine.model,
        "modelled": engine.modelled,
        "plugin": engine.plugin,
        "kv_tokens": engine.config.kv_tokens,
        "block_size": engine.config.block_size,
        "max_model_len": engine.config.max_model_len,
        "max_num_seqs": engine.config.max_num_seqs,
        "max_num_batched_tokens": engine.config.max_num_batched_tokens,
        "priority": engine.config.priority,
        "request_overhead": engine.request_overhead,
        "profile": asdict(engine.profile),
    }


# --- what is told -----------------------------------------------------------------------------------------------------


def _head(workload: Trace, limit: Tokens) -> str:
    return (
        f"{workload.programs:,} programs of {workload.calls:,} calls; programs with more than {limit:,} tokens of "
        f"context are scaled to that"
    )


def _seeding(comparison: Comparison, setting: Setting, *, asked: bool) -> str:
    """How many seeds there are, and what they vary."""
    count, first = len(comparison.seeds), comparison.seeds[0]
    if count > 1:
        fewer = f" (a trace of this length gets {count}; ask for more with --seeds)" if count < USUAL_SEEDS else ""
        return f"{count} seeds from {first} on{'' if asked else fewer}, each with its own {setting.draw}"
    if setting.draw.rate is None and not setting.draw.changes_programs:
        return f"seed {first}, as recorded; for intervals, --seeds 5 draws programs from those of the trace"
    return f"seed {first}, with its own {setting.draw}; for intervals, ask for more --seeds"


def _table(comparison: Comparison) -> Table:
    """Figures of each policy, and how they compare with the first one's."""
    count = len(comparison.seeds)
    title = "one seed, no intervals" if count == 1 else f"means of {count} seeds, and paired 95 % intervals"
    table = Table("figure", title=title, title_justify="left")
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


def _modelled(fleet: Sequence[EngineModel]) -> Iterator[str]:
    """Which engines nobody has measured."""
    names = list(dict.fromkeys(engine.hardware for engine in fleet if engine.modelled))
    if names:
        yield f"modelled from data sheets, not measured: {escape(', '.join(names))}"


def _cost(simulations: Sequence[Simulation]) -> str:
    calls = sum(program.calls for simulation in simulations for program in simulation.programs)
    wall: Seconds = sum(simulation.cost.wall for simulation in simulations)
    return f"{calls:,} calls simulated in {wall:.1f} s: {calls / wall:,.0f} a second"
