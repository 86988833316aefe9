"""`agentserve demo`: the whole comparison from one command, with progress, a table and a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agentserve.commands.common import JsonOption, err, interrupted, print_json, run_interruptibly, warn
from agentserve.commands.common import out as console
from agentserve.commands.progress import Bar, bar
from agentserve.demo import comparison, page
from agentserve.demo.arms import Arm, EngineSize, GatewayArm, StockArm
from agentserve.demo.comparison import Workload
from agentserve.demo.outcome import PIN_OUTCOMES, ArmOutcome, figures
from agentserve.engines import demo_model, installed
from agentserve.engines.base import EngineError
from workloads.client import ReplayEvent, ReplayStep
from workloads.program import Program

OVERLOAD = 1.5
"""Arrivals in the demo, as a multiple of what the stock engine completes when many programs are there at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked on the command line."""

    programs: int
    rate: float | None
    seed: int
    out: Path
    emulated: bool


def demo(
    programs: Annotated[int, typer.Option(min=2, help="Agent programs to replay.")] = 16,
    rate: Annotated[
        float | None, typer.Option(help="Arrivals a second; without it, 1.5 times what the stock engine can do.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of programs and arrivals.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the page, the figures and the logs.")] = Path(".demo"),
    emulated: Annotated[bool, typer.Option("--emulated", help="Use the emulated engine, not vLLM.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay agent programs straight into stock vLLM and then through agentserve, and compare."""
    if not emulated and not installed.has_vllm():
        warn("vLLM is not installed here: this runs on the emulated engine")
        emulated = True
    if not emulated:
        with err.status("preparing the model"):
            demo_model.prepare()
    plan = Plan(programs, rate, seed, out, emulated)
    out.mkdir(parents=True, exist_ok=True)
    try:
        outcomes, used_rate = run_interruptibly(_compare(plan))
    except (KeyboardInterrupt, asyncio.CancelledError):
        interrupted("everything that was started has been stopped")
    except EngineError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from error
    _show(outcomes, plan, used_rate, as_json=as_json)


async def _compare(plan: Plan) -> tuple[list[ArmOutcome], float]:
    size = EngineSize(demo_model.DEFAULT_PATH, emulated=plan.emulated)
    workload = Workload(plan.programs)
    arms: list[Arm] = [StockArm(size, plan.out), GatewayArm(size, plan.out)]
    rate = plan.rate
    outcomes = []
    for arm in arms:
        try:
            await _start(arm)
            if rate is None:
                rate = OVERLOAD * await _saturated_rate(arm, plan)
            programs = workload.arriving(plan.seed, rate)
            with _bars(f"{arm.name}, {rate:.2f} programs/s", programs) as follow:
                outcomes.append(await comparison.run(arm, programs, workload, follow))
        finally:
            await arm.stop()
    return outcomes, rate or 0.0


async def _saturated_rate(arm: Arm, plan: Plan) -> float:
    """What the side completes a second when half as many programs are there at once; the half saves a minute."""
    half = Workload(max(2, plan.programs // 2))
    with _bars(f"{arm.name}, {half.programs} at once, to measure its speed", half.at_once(plan.seed + 1)) as follow:
        return await comparison.saturated_rate(arm, half, plan.seed + 1, follow)


async def _start(arm: Arm) -> None:
    with err.status(f"starting {arm.name}") as status:
        await arm.start(lambda line: status.update(f"starting {arm.name}: {line[:100]}"))


@contextmanager
def _bars(title: str, programs: Sequence[Program]) -> Iterator[comparison.OnEvent]:
    """A progress bar that counts calls, and tells how many programs have ended."""
    with bar(f"{title}; calls", sum(len(program.calls) for program in programs), keep=True) as shown:
        yield _Follower(shown, title, len(programs)).follow


@dataclass(slots=True)
class _Follower:
    shown: Bar
    title: str
    programs: int
    ended: int = 0

    def follow(self, event: ReplayEvent) -> None:
        if event.step in (ReplayStep.CALL_FINISHED, ReplayStep.CALL_FAILED):
            self.shown.advance()
        elif event.step is ReplayStep.PROGRAM_ENDED:
            self.ended += 1
            self.shown.say(f"{self.title}; {self.ended} of {self.programs} programs done; calls")


def _show(outcomes: Sequence[ArmOutcome], plan: Plan, rate: float, *, as_json: bool) -> None:
    engine = "the EMULATED engine" if plan.emulated else "vLLM on this CPU with SmolLM2-135M"
    note = f"{plan.programs} agent programs at {rate:.2f} a second (seed {plan.seed}) on {engine}, 8,192 tokens of KV."
    for outcome in outcomes:
        if outcome.summary.calls_failed:
            errors = {record.error for record in outcome.records if record.error}
            warn(f"{outcome.summary.calls_failed} calls failed on {outcome.name}: {errors}")
    path = plan.out / "index.html"
    path.write_text(page.render(outcomes, "The same agent programs on the same engine", note, emulated=plan.emulated))
    figures_path = plan.out / "figures.json"
    sides = [outcome.to_json() for outcome in outcomes]
    figures_path.write_text(json.dumps(sides, indent=1) + "\n")
    if as_json:
        about = {"programs": plan.programs, "rate": rate, "seed": plan.seed, "emulated": plan.emulated}
        print_json({**about, "sides": sides, "page": str(path)})
        return
    console.print(_table(outcomes, note))
    console.print(f"timelines: {path}    figures: {figures_path}")


def _table(outcomes: Sequence[ArmOutcome], note: str) -> Table:
    table = Table(title=note, title_justify="left")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.name, justify="right")
    table.add_column("ratio", justify="right")
    for columns in zip(*(figures(outcome) for outcome in outcomes), strict=True):
        table.add_row(columns[0][0], *(_cell(value) for _, value in columns), _ratio([value for _, value in columns]))
    table.add_section()
    for name, word in PIN_OUTCOMES.items():
        table.add_row(
            f"pins {word}", *(str(outcome.pins.get(name, 0)) if outcome.pins else "-" for outcome in outcomes)
        )
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _ratio(values: Sequence[float | None]) -> str:
    """The first side's figure over the last's: above 1, the last took less."""
    first, last = values[0], values[-1]
    return f"{first / last:.2f}x" if first and last else "-"
