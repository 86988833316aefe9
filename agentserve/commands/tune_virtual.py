"""`agentserve tune-virtual`: samples, segments and takeover rate of a virtual model, for a latency or token budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.table import Table

from agentserve.commands.common import (
    JsonOption,
    check_output,
    check_rate,
    command_line,
    fail,
    interrupted,
    out,
    print_json,
    warn,
)
from agentserve.commands.progress import bar
from agentserve.config import Config, ConfigError, VirtualSection, load
from scheduler.procedures.base import Kind
from simulator.fleet import FleetError
from simulator.gateway import SimulationError
from simulator.reasoner.tuning import Budget, Found, NoSettingError, Traffic, Trial, describe, simulations, tune
from simulator.reasoner.world import Pair

ASSUMED = (
    "times are of modelled engines, but how hard questions are and what a takeover mends is assumed "
    "(docs/reasoner.md): check the accuracy on questions of yours"
)
TUNED = ("samples", "turns", "segment_tokens", "takeover")


def tune_virtual(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="The configuration that has the virtual model.")],
    draft: Annotated[str, typer.Option(metavar="FLEET", help="The draft's engines, as 1xL40S.")],
    draft_model: Annotated[str, typer.Option(metavar="NAME", help="What the draft is like, as llama-3.1-8b.")],
    target: Annotated[str, typer.Option(metavar="FLEET", help="The target's engines, as 1xA100:tp2.")],
    target_model: Annotated[str, typer.Option(metavar="NAME", help="What the target is like, as qwen2.5-32b.")],
    model: Annotated[str | None, typer.Option(help="The virtual model, where there are several.")] = None,
    seconds: Annotated[float | None, typer.Option(help="An answer may take so long, in the mean.")] = None,
    tokens: Annotated[float | None, typer.Option(help="An answer may cost so many generated tokens.")] = None,
    rate: Annotated[float, typer.Option(help="Questions a second.")] = 0.01,
    questions: Annotated[int, typer.Option(min=8, help="Questions that the best settings answer.")] = 60,
    seed: Annotated[int, typer.Option(help="Of questions and arrivals.")] = 1,
    output: Annotated[Path, typer.Option("--out", help="Write the section here, for `virtual:`.")] = (
        Path("virtual.yaml")
    ),
    as_json: JsonOption = False,
) -> None:
    """Set the samples, segments and takeover rate of a virtual model for a latency or token budget, by simulation."""
    check_rate(rate)
    check_output(output)
    budget = _budget(seconds, tokens)
    try:
        section = _section(load(config), model)
        pair = Pair(draft, target, draft_model, target_model)
        pair.fleet()  # names of models and hardware are checked there
        with bar("simulations", simulations(section.spec)) as shown:
            found = tune(section.spec, pair, budget, Traffic(questions, rate, seed), shown.advance)
        output.write_text(_written(section, found.winner, command_line(context, "tune-virtual")))
    except (ConfigError, FleetError, SimulationError, NoSettingError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        interrupted()
    warn(ASSUMED)
    if as_json:
        print_json(_told(found, output))
        return
    out.print(_table(found))
    out.print(f"{output} holds {describe(found.winner.spec)}")


def _budget(seconds: float | None, tokens: float | None) -> Budget:
    if seconds is None and tokens is None:
        fail("give a budget: --seconds, --tokens, or both")
    for name, value in (("--seconds", seconds), ("--tokens", tokens)):
        if value is not None and not value > 0:
            fail(f"{name} must be above 0, not {value:g}")
    return Budget(seconds, tokens)


def _section(config: Config, model: str | None) -> VirtualSection:
    """The virtual model to tune. Ends the command if there is none, or it has nothing to tune."""
    names = [each.model for each in config.virtual]
    if not names:
        fail("the configuration has no virtual model; add one under `virtual:`")
    if model is None and len(names) > 1:
        fail(f"--model says which of {', '.join(names)} to tune")
    section = next((each for each in config.virtual if model in (None, each.model)), None)
    if section is None:
        fail(f"there is no virtual model {model!r}; there are {', '.join(names)}")
    if section.spec.kind is not Kind.ATTS:
        fail(f"{section.model!r} is of kind {section.kind}, which has no takeovers to tune; only atts has")
    return section


def _told(found: Found, output: Path) -> dict[str, object]:
    """For machines: means of a question."""
    return {
        "out": str(output),
        "winner": _figures(found.winner),
        "finalists": [_figures(trial) for trial in found.finalists],
    }


def _figures(trial: Trial) -> dict[str, object]:
    figures = {name: getattr(trial, name) for name in ("accuracy", "seconds", "tokens", "target_tokens")}
    return {name: getattr(trial.spec, name) for name in TUNED} | figures


def _table(found: Found) -> Table:
    table = Table("setting", "right", "seconds", "tokens", "target tokens", title="mean of a question, simulated")
    for trial in sorted(found.finalists, key=lambda trial: -trial.accuracy):
        table.add_row(describe(trial.spec), *_cells(trial))
    table.add_section()
    table.add_row(f"{describe(found.winner.spec)}, on fresh questions", *_cells(found.winner))
    return table


def _cells(trial: Trial) -> tuple[str, ...]:
    return f"{trial.accuracy:.1%}", f"{trial.seconds:.1f}", f"{trial.tokens:,.0f}", f"{trial.target_tokens:,.0f}"


def _written(section: VirtualSection, winner: Trial, command: str) -> str:
    """The section with the winner's figures, as YAML, and how they were found."""
    changes = {name: getattr(winner.spec, name) for name in TUNED}
    tuned = section.model_copy(update=changes).model_dump(exclude_defaults=True) | changes
    right, seconds, tokens, _ = _cells(winner)
    notes = [*command.splitlines(), f"Simulated, on fresh questions: {right} right, {seconds} s, {tokens} tokens."]
    return "".join(f"# {note}\n" for note in notes) + yaml.safe_dump([tuned], sort_keys=False)
