"""Simulations written by hand: programs of equal calls in turns on the engines, with no scheduler behind them."""

from __future__ import annotations

from itertools import pairwise

from scheduler.events import PinOutcome
from simulator.result import (
    CallResult,
    Cost,
    EngineResult,
    EngineSample,
    Holding,
    ProgramResult,
    Simulation,
    Waits,
)

ENGINES = ("e0", "e1")
TURNS = 3
PROMPT, OUTPUT = 1000, 100
HELD, PREFILL, DECODE, GAP = 1.0, 0.5, 2.0, 4.0
KV_TOKENS = 20_000


def simulation(policy: str = "agentserve", programs: int = 4, slower: float = 1.0, seed: int = 1) -> Simulation:
    """Programs that arrive a second after each other; every length of time but theirs is `slower` times the usual."""
    calls = [call for number in range(programs) for call in chain(number, slower)]
    waits = Waits()
    for call in calls:
        waits.add(call.turn, call.held, call.ttft)
    return Simulation(
        policy=policy,
        seed=seed,
        programs=tuple(program(calls[start : start + TURNS]) for start in range(0, len(calls), TURNS)),
        engines=tuple(engine(name, calls) for name in ENGINES),
        waits=waits,
        makespan=max(call.finished for call in calls),
        cost=Cost(1.0, 0.5, 0.5, 100, 50, 50),
        calls=tuple(calls),
    )


def chain(number: int, slower: float) -> list[CallResult]:
    """The calls of one program; every other gap is retained."""
    found: list[CallResult] = []
    at, context = float(number), 0
    for turn in range(TURNS):
        dispatched = at + HELD * slower
        first = dispatched + PREFILL * slower
        end = first + DECODE * slower
        prompt, cached = context + PROMPT, context if turn % 2 else 0
        engine = ENGINES[number % len(ENGINES)]
        name = f"p{number}"
        found.append(CallResult(name, f"c{turn}", turn, "", engine, at, dispatched, first, end, prompt, cached, OUTPUT))
        at, context = end + GAP * slower, prompt + OUTPUT
    return found


def program(calls: list[CallResult]) -> ProgramResult:
    """The program of these calls."""
    prompt, cached, output = (sum(getattr(call, name) for call in calls) for name in ("prompt", "cached", "output"))
    return ProgramResult(
        calls[0].program, "", None, calls[0].arrived, calls[-1].finished, len(calls), prompt, cached, output
    )


def engine(name: str, calls: list[CallResult]) -> EngineResult:
    """An engine with a sample at each second."""
    own = [call for call in calls if call.engine == name]
    samples = tuple(sample(float(at), own) for at in range(int(max(call.finished for call in calls)) + 2))
    return EngineResult(name, "A100:w4", KV_TOKENS, len(own), 2, 10.0, {PinOutcome.HIT: 3}, samples)


def sample(at: float, calls: list[CallResult]) -> EngineSample:
    """What an engine holds at a moment: the contexts of calls that run, and of gaps that are retained."""
    running = {call.program: call.prompt for call in calls if call.first_token <= at < call.finished}
    retained = {
        call.program: before.prompt + before.output
        for before, call in pairwise(calls)
        if before.program == call.program and call.cached and before.finished <= at < call.first_token
    }
    holdings = tuple(Holding(name, running.get(name, 0), retained.get(name, 0)) for name in sorted(running | retained))
    held = sum(call.arrived <= at < call.dispatched for call in calls)
    waiting = sum(call.dispatched <= at < call.first_token for call in calls)
    return EngineSample(at, len(running), waiting, held, sum(running.values()), sum(retained.values()), holdings)
