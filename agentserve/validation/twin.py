"""The simulated side: the load client's replays, one after the other, through one gateway in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from statistics import fmean

from scheduler.brain import IDLE_TIMEOUT
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds, Tokens
from simulator.client import ClientRules
from simulator.compare import Setting, run
from simulator.fleet import EngineModel
from simulator.ledger import Detail
from simulator.network import Constant
from simulator.result import CallResult
from workloads.program import Call, CallRef, Program
from workloads.records import CallRecord
from workloads.words import WORDS

APART: Seconds = 600.0
"""From the last arrival of a replay to the first of the next, unless a replay lasts longer."""

LOAD_CLIENT = ClientRules(bytes_per_token=Constant(fmean(len(word) for word in WORDS) + 1))
"""What the load client says in its requests: its text is words of one token, with a space between them."""

DETAIL = Detail()


def named(programs: Sequence[Program], suffix: str) -> list[Program]:
    """The same programs under other names, and so of other text: no engine can know it from an earlier replay."""
    return [_named(program, suffix) for program in programs]


def _named(program: Program, suffix: str) -> Program:
    calls = tuple(
        replace(
            call,
            after=tuple(replace(edge, program=edge.program + suffix) if edge.program else edge for edge in call.after),
        )
        for call in program.calls
    )
    parent = None if program.parent is None else program.parent + suffix
    return replace(program, id=program.id + suffix, parent=parent, calls=calls)


def resized(programs: Sequence[Program], prompts: Mapping[CallRef, Tokens]) -> list[Program]:
    """The programs with the lengths that the server has counted; calls of which it told nothing keep theirs."""
    return [_resized(program, prompts) for program in programs]


def _resized(program: Program, prompts: Mapping[CallRef, Tokens]) -> Program:
    calls: dict[str, Call] = {}
    ends: dict[str, Tokens] = {}
    for call in program.ordered():
        start = sum(text.tokens for text in call.prefix) if call.context is None else ends[call.context]
        prompt = max(prompts.get(CallRef(program.id, call.id), start + call.new_tokens), start + 1)
        calls[call.id] = replace(call, new_tokens=prompt - start)
        ends[call.id] = prompt + call.output_tokens
    return replace(program, calls=tuple(calls[call.id] for call in program.calls))


def counted(records: Sequence[CallRecord]) -> dict[CallRef, Tokens]:
    """The prompts' lengths, where the server has told them."""
    return {
        CallRef(record.program, record.call): record.prompt_tokens
        for record in records
        if record.prompt_tokens is not None
    }


def simulate_replays(
    replays: Sequence[Sequence[Program]],
    fleet: Sequence[EngineModel],
    policy: PolicyConfig,
    seed: int = 0,
    idle_timeout: Seconds = IDLE_TIMEOUT,
) -> list[list[CallRecord]]:
    """The records that a load client would bring home of each replay.

    The gateway remembers from one replay what it has learned for the next, and the engines are idle between them.

    Args:
        replays: the programs of each; no id is in two of them.
        fleet: the engines.
        policy: what the gateway runs.
        seed: of everything random.
        idle_timeout: after which silent programs have ended, as the gateway has it.

    Raises:
        SimulationError, WorkloadError, PolicyError: as `simulate`.
    """
    apart = APART
    setting = Setting(tuple(fleet), rules=LOAD_CLIENT, idle_timeout=idle_timeout)
    while True:
        starts = _starts(replays, apart)
        shifted = [
            _as_replayed(program, start) for start, replay in zip(starts, replays, strict=True) for program in replay
        ]
        simulation = run(shifted, setting, policy, seed, DETAIL)
        calls = {CallRef(call.program, call.call): call for call in simulation.calls}
        records = [_records(replay, calls, start) for start, replay in zip(starts, replays, strict=True)]
        if all(_end(found) <= later - start for found, start, later in zip(records, starts, starts[1:], strict=False)):
            return records
        apart *= 2


def _starts(replays: Sequence[Sequence[Program]], apart: Seconds) -> list[Seconds]:
    lengths = (max(program.arrival_s for program in replay) + apart for replay in replays[:-1])
    return list(accumulate(lengths, initial=0.0))


def _as_replayed(program: Program, start: Seconds) -> Program:
    """The program, `start` seconds later, and as the load client has it: with its own rules, and text for answers."""
    calls = tuple(
        replace(call, said=None, after=tuple(replace(edge, tool="") for edge in call.after)) for call in program.calls
    )
    return replace(program, arrival_s=start + program.arrival_s, calls=calls)


def _end(records: Sequence[CallRecord]) -> Seconds:
    return max(record.finish_s or 0.0 for record in records)


def _records(replay: Sequence[Program], calls: dict[CallRef, CallResult], start: Seconds) -> list[CallRecord]:
    return [
        _record(program, calls[CallRef(program.id, call.id)], start) for program in replay for call in program.calls
    ]


def _record(program: Program, call: CallResult, start: Seconds) -> CallRecord:
    return CallRecord(
        program=program.id,
        call=call.call,
        turn=call.turn,
        parent=program.parent,
        workflow=program.workflow,
        stage=call.stage,
        scheduled_s=call.arrived - start,
        sent_s=call.arrived - start,
        first_token_s=call.first_token - start,
        finish_s=call.finished - start,
        prompt_tokens=call.prompt,
        cached_tokens=call.cached,
        output_tokens=call.output,
        engine=call.engine,
        queue_s=call.held,
    )
