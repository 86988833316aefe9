"""The order in which programs leave an engine that goes away: that in which least is lost.

A program in its gap loses nothing if its context has been computed elsewhere when it returns; else it computes it itself
and waits for that. Contexts are computed one after another on an engine, so this is one machine, jobs with due dates
and the fewest late ones: solved exactly by Moore (1968) with Hodgson's algorithm. Jobs go by due date, and whenever one
would be late, the longest of those taken so far is put off. Those put off come last, the shortest first: return times
are medians, and half of them are later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.account import footprint
from scheduler.state import EngineState, EngineStatus, Program
from scheduler.types import ProgramKey, Seconds
from scheduler.view import GOES_ON, View


@dataclass(frozen=True, slots=True)
class Leaver:
    """A program in its gap: what its context takes to be computed elsewhere, and when it is likely to be back."""

    program: ProgramKey
    takes: Seconds
    returns_in: Seconds


def by_least_loss(leavers: Iterable[Leaver]) -> list[Leaver]:
    """The leavers in the order in which they should move."""
    taken: list[Leaver] = []
    late: list[Leaver] = []
    end = 0.0
    for leaver in sorted(leavers, key=lambda each: (each.returns_in, each.takes, each.program)):
        taken.append(leaver)
        end += leaver.takes
        if end > leaver.returns_in:
            longest = max(taken, key=lambda each: each.takes)
            taken.remove(longest)
            late.append(longest)
            end -= longest.takes
    return [*taken, *sorted(late, key=lambda each: (each.takes, each.program))]


def movable(view: View, engine: EngineState) -> list[Program]:
    """The programs in gaps whose KV the engine has, and who will rather go on with it than not."""
    return [program for program in view.programs.values() if _rests_there(program, engine) and _goes_on(view, program)]


def _rests_there(program: Program, engine: EngineState) -> bool:
    if program.engine != engine.id or program.gap_since is None or program.calls:
        return False
    return program.member or engine.written <= program.survives


def _goes_on(view: View, program: Program) -> bool:
    return not program.ending and view.comes_back(program) >= GOES_ON


def returns_in(view: View, program: Program) -> Seconds:
    """The median of the time until a program in its gap is back, or what its agent said."""
    lasted = view.now - (view.now if program.gap_since is None else program.gap_since)
    if program.expected_gap is not None:
        return max(0.0, program.expected_gap - lasted)
    tenant, gaps = program.key.tenant, view.learned.gaps
    share = (1.0 + gaps.cdf(tenant, program.gap_tools, lasted)) / 2
    return max(0.0, gaps.quantile(tenant, program.gap_tools, min(share, MOST)) - lasted)


def awaited_in(view: View, program: Program) -> Seconds | None:
    """`returns_in` of a program that will rather return than not, now that it has been silent for so long; else None.

    By Bayes: it returns with probability r, and is silent for t first with 1 - F(t); it does not return with 1 - r.
    """
    if program.calls or program.ending or program.gap_since is None:
        return None
    lasted = view.now - program.gap_since
    tenant = program.key.tenant
    early = program.expected_gap is not None and lasted <= program.expected_gap
    silent = 1.0 if early else 1.0 - view.learned.gaps.cdf(tenant, program.gap_tools, lasted)
    returns = view.learned.workflow(tenant, program.kind).returns(program.served).value
    likely = returns * silent >= GOES_ON * (returns * silent + 1.0 - returns)
    return returns_in(view, program) if likely else None


MOST = 0.999
"""The largest quantile of gaps that is asked for."""


def takes(view: View, program: Program, engine: EngineState) -> Seconds:
    """Seconds until the engine would have the program's context, its queue included."""
    return view.prefill_seconds(engine, engine.backlog) + view.cold_prefill(engine, program.context)


def destinations(view: View, source: EngineState) -> list[EngineState]:
    """The engines that might take its programs."""
    models = set(source.spec.models)
    up = (engine for engine in view.engines.values() if engine.status is EngineStatus.UP)
    return [engine for engine in up if models.intersection(engine.spec.models)]


def destination(view: View, program: Program, engines: Iterable[EngineState]) -> EngineState | None:
    """The engine that has the program's context first, of those that have room for it."""
    held = footprint(program.marks, program.tokens_per_byte, program.context)
    roomy = (
        engine
        for engine in engines
        if engine.account.added_by(held) <= engine.free and program.context < engine.spec.max_model_len
    )
    return min(roomy, key=lambda engine: takes(view, program, engine), default=None)
