"""The load client: replays programs open-loop against any OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import httpx

from workloads.clock import ReplayClock
from workloads.exchange import Exchange
from workloads.program import Call, CallRef, Program, Seconds, check_workload
from workloads.records import CallRecord
from workloads.request import ExtraHook, RequestRules, no_extra
from workloads.synth import DEFAULT_RATIO, Message, Ratio, opening, result

_TIMEOUT = httpx.Timeout(None, connect=30.0)
# Idle connections are dropped before servers do it (uvicorn: after 5 s), lest a request meets a closing one.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0)


class ReplayStep(StrEnum):
    """What a `ReplayEvent` tells of."""

    PROGRAM_STARTED = "program_started"
    CALL_SENT = "call_sent"
    FIRST_TOKEN = "first_token"  # noqa: S105
    CALL_FINISHED = "call_finished"
    CALL_FAILED = "call_failed"
    PROGRAM_ENDED = "program_ended"


@dataclass(frozen=True, slots=True)
class ReplayEvent:
    """Something happened in a replay, at `at_s` on the workload's clock. `call` is empty for a program's events."""

    step: ReplayStep
    at_s: Seconds
    program: str
    call: str = ""


async def replay(
    programs: Sequence[Program],
    url: str,
    model: str,
    *,
    identity: bool = True,
    announce_end: bool = True,
    exact_lengths: bool = True,
    extra: ExtraHook = no_extra,
    ratio: Ratio = DEFAULT_RATIO,
    skip_idle: bool = False,
    wall_limit_s: Seconds = 3600.0,
    on_event: Callable[[ReplayEvent], None] | None = None,
) -> list[CallRecord]:
    """Sends every call of the programs to the server when the workload says so, however slow the answers are.

    A program starts at its arrival; a call is sent when all it waits for has ended and the gaps are over. Prompts
    grow by the model's real answers. A call that fails ends its program: what has not been sent never is, and neither
    is what waits for it in other programs.

    Args:
        programs: the workload; see `check_workload` for what it has to satisfy.
        url: the server's base URL, without /v1. Proxies of the environment are not used.
        model: the model name to ask for.
        identity: see `RequestRules`.
        announce_end: see `RequestRules`.
        exact_lengths: see `RequestRules`.
        extra: adds headers and body fields to each call's request.
        ratio: how many words make a token; see `synth.calibrate`.
        skip_idle: when no program is active, the workload's clock jumps to the next arrival, so that a low load
            costs no wall time. The server sees less idle time than the records show.
        wall_limit_s: the replay stops after this many seconds of real time; what is unfinished then has an error.
        on_event: called at every step, for progress bars.

    Returns:
        One record a call, in the order of `programs` and of their calls; none is left out.

    Raises:
        WorkloadError: the programs do not fit together.
    """
    check_workload(programs)
    rules = RequestRules(model, identity, announce_end, exact_lengths, extra)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=_LIMITS, trust_env=False) as http:
        run = _Replay(programs, http, rules, ratio, on_event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wall_limit_s):
                await run.play(skip_idle=skip_idle)
    return run.records(unfinished=f"the replay's limit of {wall_limit_s:g} s was reached")


class _Replay:
    """One replay under way."""

    def __init__(
        self,
        programs: Sequence[Program],
        http: httpx.AsyncClient,
        rules: RequestRules,
        ratio: Ratio,
        on_event: Callable[[ReplayEvent], None] | None,
    ) -> None:
        self._programs = programs
        self._http = http
        self._rules = rules
        self._ratio = ratio
        self._on_event = on_event
        self._clock = ReplayClock()
        loop = asyncio.get_running_loop()
        refs = [CallRef(program.id, call.id) for program in programs for call in program.calls]
        self._ends: dict[CallRef, asyncio.Future[Seconds | None]] = {ref: loop.create_future() for ref in refs}
        """When each call was answered; None if it never will be."""
        self._histories: dict[CallRef, tuple[Message, ...]] = {}
        self._scheduled: dict[CallRef, Seconds] = {}
        self._exchanges: dict[CallRef, Exchange] = {}
        self._unsent = {program.id: len(program.calls) for program in programs}
        self._failed: set[str] = set()

    async def play(self, *, skip_idle: bool) -> None:
        """Starts every program at its arrival and waits for all to end."""
        active: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            for program in sorted(self._programs, key=lambda program: program.arrival_s):
                if skip_idle:
                    await self._skip_to(program.arrival_s, active)
                await self._clock.sleep_until(program.arrival_s)
                task = group.create_task(self._run_program(program))
                active.add(task)
                task.add_done_callback(active.discard)

    def records(self, unfinished: str) -> list[CallRecord]:
        """One record a call, whatever became of it; `unfinished` says why calls may be cut off or not sent."""
        return [record for program in self._programs for record in self._program_records(program, unfinished)]

    async def _skip_to(self, arrival_s: Seconds, active: set[asyncio.Task[None]]) -> None:
        """Waits until the arrival, or jumps there as soon as nothing is active."""
        if active:
            await asyncio.wait(active, timeout=max(0.0, arrival_s - self._clock.now()))
        if not active:
            self._clock.jump_to(arrival_s)

    async def _run_program(self, program: Program) -> None:
        self._emit(ReplayStep.PROGRAM_STARTED, program)
        async with asyncio.TaskGroup() as group:
            for call in program.calls:
                group.create_task(self._run_call(program, call))
        self._emit(ReplayStep.PROGRAM_ENDED, program)

    async def _run_call(self, program: Program, call: Call) -> None:
        finish_s = await self._send(program, call) if await self._wait_for_turn(program, call) else None
        if finish_s is None:
            self._failed.add(program.id)
        self._ends[CallRef(program.id, call.id)].set_result(finish_s)

    async def _wait_for_turn(self, program: Program, call: Call) -> bool:
        """Waits for what the call waits for. False if it is never to be sent."""
        ready_s = program.arrival_s
        for edge, ref in zip(call.after, program.dependencies(call), strict=True):
            end_s = await self._ends[ref]
            if end_s is None:
                return False
            ready_s = max(ready_s, end_s + edge.gap_s)
        self._scheduled[CallRef(program.id, call.id)] = ready_s
        await self._clock.sleep_until(ready_s)
        return program.id not in self._failed

    async def _send(self, program: Program, call: Call) -> Seconds | None:
        """Returns when the call was answered, or None if it failed."""
        ref = CallRef(program.id, call.id)
        messages = self._messages(program, call)
        exchange = self._exchanges[ref] = Exchange()
        self._unsent[program.id] -= 1
        self._emit(ReplayStep.CALL_SENT, program, call)
        await exchange.run(
            self._http,
            self._rules.headers(program, call, final=self._unsent[program.id] == 0),
            self._rules.body(program, call, messages),
            self._clock.now,
            lambda: self._emit(ReplayStep.FIRST_TOKEN, program, call),
        )
        self._histories[ref] = (*messages, Message(role="assistant", content=exchange.text))
        step = ReplayStep.CALL_FAILED if exchange.finish_s is None else ReplayStep.CALL_FINISHED
        self._emit(step, program, call)
        return exchange.finish_s

    def _messages(self, program: Program, call: Call) -> tuple[Message, ...]:
        if call.context is None:
            return opening(program, call, self._ratio)
        history = self._histories[CallRef(program.id, call.context)]
        return (*history, result(program, call, self._ratio))

    def _program_records(self, program: Program, unfinished: str) -> Iterator[CallRecord]:
        turns = program.turns()
        unsent = "a call before it failed" if program.id in self._failed else unfinished
        for call in program.calls:
            ref = CallRef(program.id, call.id)
            exchange = self._exchanges.get(ref, Exchange(error=f"not sent: {unsent}"))
            if exchange.finish_s is None and exchange.error is None:
                exchange.error = f"not finished: {unfinished}"
            yield _record(program, call, turns[call.id], self._scheduled.get(ref), exchange)

    def _emit(self, step: ReplayStep, program: Program, call: Call | None = None) -> None:
        if self._on_event is not None:
            event = ReplayEvent(step, self._clock.now(), program.id, "" if call is None else call.id)
            self._on_event(event)


def _record(program: Program, call: Call, turn: int, scheduled_s: Seconds | None, exchange: Exchange) -> CallRecord:
    return CallRecord(
        program=program.id,
        call=call.id,
        turn=turn,
        parent=program.parent,
        workflow=program.workflow,
        stage=call.stage,
        scheduled_s=scheduled_s,
        sent_s=exchange.sent_s,
        first_token_s=exchange.first_token_s,
        finish_s=exchange.finish_s,
        prompt_tokens=exchange.prompt_tokens,
        cached_tokens=exchange.cached_tokens,
        output_tokens=exchange.output_tokens,
        engine=exchange.engine,
        queue_s=exchange.queue_s,
        why=exchange.why,
        error=exchange.error,
    )
