"""`agentserve text2sql`: the whole comparison from one command, with progress, a table and a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agentserve.commands.common import (
    JsonOption,
    check_rate,
    err,
    fail,
    interrupted,
    print_json,
    run_interruptibly,
    warn,
)
from agentserve.commands.common import out as console
from agentserve.commands.progress import bar
from agentserve.engines import demo_model, installed
from agentserve.engines.base import EngineError
from agentserve.text2sql import page
from agentserve.text2sql.arms import ARMS
from agentserve.text2sql.comparison import ALONE, AT_ONCE, Bench, OnAnswer, settings
from agentserve.text2sql.engines import Fleet
from agentserve.text2sql.figures import figures, ratio
from scheduler.types import Seconds
from workloads.text2sql.databases import questions
from workloads.text2sql.load import Played, Prepared, prepare


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked on the command line. A rate or an SLO that is None is found out first."""

    questions: int
    rate: float | None
    load: float
    slo: Seconds | None
    slo_scale: float
    max_revise: int
    share: float
    seed: int
    out: Path
    emulated: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was asked at which pace, and what each side made of it."""

    rate: float
    slo: Seconds
    arms: Mapping[str, Sequence[Played]]


def text2sql(
    questions: Annotated[int, typer.Option(min=2, max=60, help="Questions to ask, of 60 on three databases.")] = 12,
    rate: Annotated[
        float | None, typer.Option(help="Questions a second; without it, what round robin can just answer.")
    ] = None,
    load: Annotated[float, typer.Option(min=0.05, max=10, help="Without --rate: as a multiple of that.")] = 1.0,
    slo: Annotated[
        float | None, typer.Option(help="Seconds in which an answer is wanted; without it, by --slo-scale.")
    ] = None,
    slo_scale: Annotated[
        float, typer.Option(min=1, max=100, help="Without --slo: as a multiple of what a question takes alone.")
    ] = 5.0,
    max_revise: Annotated[int, typer.Option(min=0, max=10, help="Revisions of a question's SQL at most.")] = 2,
    slow_share: Annotated[float, typer.Option(min=0.05, max=1, help="The slow engine's share of its core.")] = 0.4,
    seed: Annotated[int, typer.Option(help="Of arrivals, and of the model's sampling.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for databases, page, figures and logs.")] = Path(".text2sql"),
    emulated: Annotated[bool, typer.Option("--emulated", help="Use emulated engines, not vLLM.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask questions of databases through two unequal engines: round robin against agentserve."""
    check_rate(rate)
    if slo is not None and not 0 < slo < float("inf"):
        fail(f"--slo must be above 0 seconds, not {slo:g}: no question is answered in no time")
    if not emulated and not installed.has_vllm():
        warn("vLLM is not installed here: this runs on emulated engines")
        emulated = True
    plan = Plan(questions, rate, load, slo, slo_scale, max_revise, slow_share, seed, out, emulated)
    try:
        if not emulated:
            with err.status("preparing the model"):
                demo_model.prepare()
        out.mkdir(parents=True, exist_ok=True)
        outcome = run_interruptibly(_compare(plan))
        _show(outcome, plan, as_json=as_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted("everything that was started has been stopped")
    except OSError as error:
        fail(f"{error.filename or out} cannot be used: {error.strerror}")
    except (EngineError, RuntimeError) as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from error


async def _compare(plan: Plan) -> Outcome:
    prepared = prepare(questions(plan.out / "databases"))
    asked, others = prepared[: plan.questions], prepared[plan.questions :] or prepared
    fleet = Fleet(demo_model.DEFAULT_PATH, plan.share, emulated=plan.emulated)
    with err.status("starting two engines") as status:
        async with fleet.up(plan.out, lambda line: status.update(line[:100])) as engines:
            status.stop()
            bench = Bench(engines, plan.out, settings(plan.max_revise, plan.seed), lambda _: None)
            slo, rate = await _pace(bench, others, plan)
            arms = {}
            for arm in ARMS:
                with _bar(f"{arm.name}, {rate:.3f} questions/s", asked) as follow:
                    arms[arm.name] = await bench.run(arm, asked, rate, plan.seed, slo, follow)
    return Outcome(rate, slo, arms)


async def _pace(bench: Bench, prepared: Sequence[Prepared], plan: Plan) -> tuple[Seconds, float]:
    """The SLO and the rate: what is not given is measured on other questions, as far as there are others."""
    few, many = prepared[:ALONE], prepared[:AT_ONCE]
    with _bar("agentserve, one at a time, to measure the time alone", few) as follow:
        alone = await bench.alone(few, follow)
    slo = plan.slo or plan.slo_scale * alone
    if plan.rate is not None:
        return slo, plan.rate
    with _bar("round robin, all at once, to measure its speed", many) as follow:
        return slo, plan.load * await bench.saturation(many, follow)


@contextmanager
def _bar(title: str, asked: Sequence[Prepared]) -> Iterator[OnAnswer]:
    with bar(title, len(asked), keep=True) as shown:
        yield lambda _: shown.advance()


def _show(outcome: Outcome, plan: Plan, *, as_json: bool) -> None:
    engines = "EMULATED engines" if plan.emulated else "vLLM engines with SmolLM2-135M, a CPU core each"
    note = (
        f"{plan.questions} questions at {outcome.rate:.3f} a second (seed {plan.seed}) on two {engines}, of which one has "
        f"{100 * plan.share:.0f} % of its core; up to {plan.max_revise} revisions."
    )
    for name, played in outcome.arms.items():
        if errors := {each.error for each in played if each.error}:
            warn(f"questions failed under {name}: {errors}")
    path, figures_path = plan.out / "index.html", plan.out / "figures.json"
    path.write_text(page.render(outcome.arms, outcome.slo, note, emulated=plan.emulated), encoding="utf-8")
    figures_path.write_text(json.dumps(asdict(outcome), indent=1) + "\n", encoding="utf-8")
    if as_json:
        print_json({**asdict(outcome), "emulated": plan.emulated, "page": str(path)})
        return
    console.print(_table(outcome, note))
    console.print(f"timelines: {path}    figures: {figures_path}")


def _table(outcome: Outcome, note: str) -> Table:
    table = Table(title=note, title_justify="left")
    table.add_column("")
    for name in (*outcome.arms, "ratio"):
        table.add_column(name, justify="right")
    for row in zip(*(figures(played, outcome.slo) for played in outcome.arms.values()), strict=True):
        table.add_row(row[0].name, *map(str, row), ratio(row[0], row[-1]))
    return table
