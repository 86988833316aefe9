"""A simulation in Chrome's trace event format, which Perfetto (`ui.perfetto.dev`) opens.

An engine is a process and a program a thread in each engine that served it; calls of a program that ran side by side
have a thread each. Every call is three slices: held by the scheduler, until its first token, decode. What the engine
held in KV memory and who waited are counters. The format: "Trace Event Format" of the Chromium project; times there
are microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from scheduler.types import Seconds
from simulator.result import CallResult, EngineResult, EngineSample, Simulation
from simulator.whole import write_whole

Event = Mapping[str, object]


def write_chrome_trace(simulation: Simulation, path: Path) -> None:
    """Writes the trace of a simulation that kept its calls; those of samples too where it kept them.

    Raises:
        OSError: it cannot be written there; what was at the path before is untouched.
    """
    write_whole(path, _lines(simulation))


def _lines(simulation: Simulation) -> Iterator[str]:
    about = json.dumps({"policy": simulation.policy, "seed": simulation.seed})
    yield f'{{"displayTimeUnit": "ms", "otherData": {about}, "traceEvents": [\n'
    for index, event in enumerate(_events(simulation)):
        yield (",\n" if index else "") + json.dumps(event)
    yield "\n]}\n"


def _events(simulation: Simulation) -> Iterator[Event]:
    calls: dict[str, list[CallResult]] = {engine.name: [] for engine in simulation.engines}
    for call in simulation.calls:
        calls[call.engine].append(call)
    for process, engine in enumerate(simulation.engines, 1):
        yield _named("process", process, 0, f"{engine.name} ({engine.hardware}, {engine.kv_tokens:,} KV tokens)")
        yield from _threads(process, calls[engine.name])
        yield from _counters(process, engine)


def _named(what: str, process: int, thread: int, name: str) -> Event:
    return {"ph": "M", "name": f"{what}_name", "pid": process, "tid": thread, "args": {"name": name}}


def _threads(process: int, calls: Iterable[CallResult]) -> Iterator[Event]:
    """The calls of one engine. A thread is free for another call of its program when its last one has finished."""
    threads: dict[str, dict[int, Seconds]] = {}
    numbers = count(1)
    for call in sorted(calls, key=lambda call: (call.arrived, call.finished)):
        own = threads.setdefault(call.program, {})
        thread = next((number for number, end in own.items() if end <= call.arrived), None)
        if thread is None:
            thread = next(numbers)
            yield _named("thread", process, thread, f"{call.program} ({len(own) + 1})" if own else call.program)
        own[thread] = call.finished
        yield from _slices(process, thread, call)


def _slices(process: int, thread: int, call: CallResult) -> Iterator[Event]:
    times = (call.arrived, call.dispatched, call.first_token, call.finished)
    facts = {
        "call": call.call,
        "stage": call.stage,
        "prompt tokens": call.prompt,
        "cached tokens": call.cached,
        "output tokens": call.output,
    }
    for name, start, end in zip(("held", "to first token", "decode"), times, times[1:], strict=False):
        if end > start:
            yield {
                "ph": "X",
                "name": name,
                "cat": "call",
                "ts": _microseconds(start),
                "dur": _microseconds(end) - _microseconds(start),
                "pid": process,
                "tid": thread,
                "args": facts,
            }


def _counters(process: int, engine: EngineResult) -> Iterator[Event]:
    for sample in engine.samples:
        yield _counter(process, sample, "KV tokens", {"running": sample.kv_running, "retained": sample.kv_retained})
        yield _counter(process, sample, "calls waiting", {"in the engine": sample.waiting, "scheduler": sample.held})
        yield _counter(process, sample, "calls running", {"running": sample.running})


def _counter(process: int, sample: EngineSample, name: str, values: Mapping[str, int]) -> Event:
    return {"ph": "C", "name": name, "ts": _microseconds(sample.at), "pid": process, "tid": 0, "args": values}


def _microseconds(at: Seconds) -> int:
    return round(at * 1e6)
