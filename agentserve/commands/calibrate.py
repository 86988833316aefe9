"""`agentserve calibrate`: time an engine over its OpenAI API, fit a step profile, and write it with its error."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from agentserve.calibration.campaign import Campaign
from agentserve.calibration.stream import Completions
from agentserve.calibration.subject import Subject, examine
from agentserve.commands.common import JsonOption, check_output, check_url, fail, interrupted, out, print_json, warn
from agentserve.commands.progress import Bar, bar
from agentserve.engines.base import EngineError
from agentserve.engines.http import HttpLeg
from scheduler.types import EngineId, Tokens
from simulator.calibrate.fit import Fit, FitFailedError, fit
from simulator.calibrate.observation import Observation
from simulator.calibrate.plan import Point, Sizes, points
from simulator.profile import Measured, save_profile

ROUNDS = 5
"""How often each point is timed if the time is enough; the fit takes the median."""
ASSUMED_TOKENS, ASSUMED_SEQS = 2048, 128
"""vLLM's tokens and requests a step for an API server on a CPU, where nobody says what the engine's are."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked on the command line."""

    url: str
    model: str | None
    minutes: float
    max_num_batched_tokens: Tokens
    max_num_seqs: int
    rounds: int = ROUNDS


def calibrate(
    url: Annotated[str, typer.Option(help="Where the engine answers, without /v1.")],
    output: Annotated[Path, typer.Option("--out", help="The profile's file, to be written.")],
    model: Annotated[str | None, typer.Option(help="What it serves; without it, its first model.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to measure at most.")] = 5.0,
    hardware: Annotated[str, typer.Option(help="What it runs on, for people to read.")] = "not told",
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"The engine's own, which it does not tell: tokens a step ({ASSUMED_TOKENS} assumed)."
        ),
    ] = None,
    max_num_seqs: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"The engine's own, which it does not tell: requests a step ({ASSUMED_SEQS} assumed)."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure an idle engine, and write a profile that `agentserve simulate` and emulated engines take."""
    check_output(output)
    base = check_url(url)
    tokens = _assumed("--max-num-batched-tokens", max_num_batched_tokens, ASSUMED_TOKENS)
    seqs = _assumed("--max-num-seqs", max_num_seqs, ASSUMED_SEQS)
    task = Task(base, model, minutes, tokens, seqs)
    try:
        subject, observations = asyncio.run(measure(task))
        fitted = fit(observations, output.stem, f"measured over HTTP on {hardware}, model {subject.model}")
    except EngineError as error:
        fail(str(error))
    except FitFailedError as error:
        fail(f"{error} in {minutes:g} minutes: allow more --minutes; nothing was written")
    except KeyboardInterrupt:
        interrupted()
    try:
        save_profile(fitted.profile, output, _describe(subject, fitted, task, hardware))
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")
    if as_json:
        print_json(_told(fitted, output))
        return
    out.print(_table(fitted), _summary(fitted), f"written to {escape(str(output))}", sep="\n")


def _assumed(option: str, given: int | None, usual: int) -> int:
    """What was given, or loudly what is usual: a wrong size makes every simulation of the engine wrong."""
    if given is not None:
        return given
    warn(
        f"{option} is not given, and an engine does not tell it: {usual} is assumed, and written into the profile. Give "
        "the engine's own value (vLLM logs it when it starts) if it is another"
    )
    return usual


async def measure(task: Task) -> tuple[Subject, list[Observation]]:
    """Times an engine at the points that fit it, and says how far it is.

    Raises:
        EngineError: it cannot be reached, is busy, or fails.
    """
    leg = HttpLeg(EngineId(task.url), task.url)
    try:
        subject = await examine(leg, task.model)
        plan = points(Sizes(subject.max_model_len, subject.kv_tokens, task.max_num_batched_tokens, task.max_num_seqs))
        campaign = Campaign(
            Completions(leg, subject.model), task.max_num_batched_tokens, subject.block_size, secrets.token_hex(8)
        )
        with bar("starting", len(plan) * task.rounds, keep=True) as shown:
            return subject, await campaign.run(plan, task.rounds, task.minutes * 60, lambda point: _timed(shown, point))
    finally:
        await leg.aclose()


def _timed(shown: Bar, point: Point) -> None:
    batch = f"batch {point.batch}, " if point.batch else ""
    shown.say(f"points; {point.regime}: {batch}{point.tokens} tokens")
    shown.advance()


def _told(fitted: Fit, output: Path) -> dict[str, object]:
    """For machines: times in seconds, errors as shares of single timings."""
    return {
        "out": str(output),
        "profile": asdict(fitted.profile),
        "request_overhead": fitted.request_overhead,
        "errors": {regime: asdict(error) for regime, error in fitted.errors.items()},
    }


def _describe(subject: Subject, fitted: Fit, task: Task, hardware: str) -> Measured:
    return Measured(
        model=subject.model,
        hardware=hardware,
        date=datetime.now(UTC).date().isoformat(),
        command=(
            f"agentserve calibrate --url {task.url} --model {subject.model} --minutes {task.minutes:g} "
            f"--max-num-batched-tokens {task.max_num_batched_tokens} --max-num-seqs {task.max_num_seqs}"
        ),
        max_model_len=subject.max_model_len,
        max_num_batched_tokens=task.max_num_batched_tokens,
        max_num_seqs=task.max_num_seqs,
        block_size=subject.block_size,
        num_blocks=subject.num_blocks,
        request_overhead=fitted.request_overhead,
        fit=fitted.errors,
    )


def _table(fitted: Fit) -> Table:
    table = Table("regime", title="How far the profile is from single timings", title_justify="left")
    for column in ("timings", "median error", "P90 error"):
        table.add_column(column, justify="right")
    for regime, error in fitted.errors.items():
        table.add_row(regime, str(error.count), f"{error.median:.1%}", f"{error.p90:.1%}")
    return table


def _summary(fitted: Fit) -> str:
    profile = fitted.profile
    return (
        f"a step takes {_ms(profile.constant + profile.token * profile.token_floor)}, prefill "
        f"{profile.prefill_tokens_per_s:,.0f} tokens/s, a decode {_ms(profile.decode_request + profile.token)} more "
        f"for each request and {_ms(1000 * profile.decode_context)} for 1,000 tokens of context, a request "
        f"{_ms(fitted.request_overhead)} outside the engine"
    )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
