"""Calls, programs and engines made by hand, for what a policy computes; arrivals that say more than `World.call`."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.account import NOTHING, Account
from scheduler.events import CallArrived
from scheduler.learned import Learned
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, EngineSpec, ProgramKey, Seconds, TenantId, Usage
from scheduler.view import View
from tests.scheduler.world import MODEL, World, key, marks, spec


def an_engine(name: str = "a", engine_spec: EngineSpec | None = None) -> EngineState:
    chosen = engine_spec or spec()
    return EngineState(EngineId(name), chosen, Account(chosen.kv_tokens))


def a_view(*engines: EngineState, now: Seconds = 0.0) -> View:
    return View(now, {engine.id: engine for engine in engines}, {}, Learned())


def a_program(name: str, *, arrived: Seconds = 0.0, workflow: str = "") -> Program:
    return Program(key(name), 0, arrived, arrived, workflow, workflow, None, 0.25, arrived)


def a_call(
    program: Program,
    *,
    stage: str = "",
    arrived: Seconds = 0.0,
    deadline: Seconds | None = None,
    prompt: int = 500,
    output: int = 50,
) -> Call:
    """A call of 500 + 50 tokens: 0.28 s of prefill and 1.5 s of decoding on an engine nobody has measured."""
    name = CallId(f"{program.key.program}@{stage}@{arrived}")
    call = Call(
        name, program, MODEL, arrived, 1, prompt, prompt * 4, (), NOTHING, 0, False, False, True, False, stage, deadline
    )
    call.expect(output)
    return call


def live(
    policy: Listener,
    view: View,
    engine: EngineState,
    calls: Sequence[tuple[str, Seconds]],
    *,
    workflow: str = "",
    times: int = 3,
) -> None:
    """Has the policy hear of programs, one after the other, that make these calls: their stages and seconds."""
    for _ in range(times):
        program = a_program(f"past-{view.now}", arrived=view.now, workflow=workflow)
        for stage, seconds in calls:
            call = a_call(program, stage=stage, arrived=view.now)
            policy.call_arrived(view, call)
            call.dispatched = view.now
            policy.call_dispatched(view, call, engine)
            view.now += seconds
            policy.call_finished(view, call, Usage(call.prompt, call.expected_output), engine)
        policy.program_ended(view, program)


def arrive(
    world: World,
    program: str,
    *,
    stage: str = "",
    deadline: Seconds | None = None,
    tenant: str = DEFAULT_TENANT,
    tokens: int = 500,
    output: int = 50,
) -> CallId:
    """A program's first call arrives; says its id."""
    name = CallId(f"{tenant}/{program}/{stage}")
    world.waiting.add(name)
    size = 4 * tokens
    world.feed(
        CallArrived(
            world.now,
            name,
            ProgramKey(TenantId(tenant), program),
            MODEL,
            size,
            marks(tenant + program, 1, size),
            prompt_tokens=tokens,
            expected_output=output,
            deadline=deadline,
            stage=stage,
        )
    )
    return name
