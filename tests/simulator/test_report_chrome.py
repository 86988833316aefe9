from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter

from simulator.report import write_chrome_trace
from simulator.result import Simulation
from tests.simulator.simulations import ENGINES, TURNS, simulation


class Base(BaseModel):
    """The fields that every event of the format has."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    pid: PositiveInt
    tid: NonNegativeInt


class Metadata(Base):
    ph: Literal["M"]
    name: Literal["process_name", "thread_name"]
    args: dict[Literal["name"], str]


class Slice(Base):
    ph: Literal["X"]
    cat: str
    ts: NonNegativeInt
    dur: NonNegativeInt
    args: dict[str, str | int]


class Counted(Base):
    ph: Literal["C"]
    ts: NonNegativeInt
    args: dict[str, int]


class Trace(BaseModel):
    """The format's object form."""

    model_config = ConfigDict(extra="forbid")
    displayTimeUnit: Literal["ms", "ns"]  # noqa: N815
    otherData: dict[str, str | int]  # noqa: N815
    traceEvents: list[Metadata | Slice | Counted]  # noqa: N815

    def slices(self) -> list[Slice]:
        return [event for event in self.traceEvents if isinstance(event, Slice)]

    def names(self, kind: str) -> dict[tuple[int, int], str]:
        return {
            (event.pid, event.tid): event.args["name"]
            for event in self.traceEvents
            if isinstance(event, Metadata) and event.name == kind
        }


def written(found: Simulation, folder: Path) -> Trace:
    path = folder / "trace.json"
    write_chrome_trace(found, path)
    return TypeAdapter(Trace).validate_json(path.read_bytes())


def test_a_trace_has_the_fields_of_the_format(tmp_path: Path) -> None:
    trace = written(simulation(), tmp_path)
    assert trace.otherData == {"policy": "agentserve", "seed": 1}
    assert Counter(type(event) for event in trace.traceEvents).keys() == {Metadata, Slice, Counted}


def test_an_engine_is_a_process_and_a_program_a_thread(tmp_path: Path) -> None:
    trace = written(simulation(programs=4), tmp_path)
    assert [name.split(" (")[0] for name in trace.names("process_name").values()] == list(ENGINES)
    assert sorted(trace.names("thread_name").values()) == ["p0", "p1", "p2", "p3"]
    assert {(event.pid, event.tid) for event in trace.slices()} == trace.names("thread_name").keys()


def test_the_slices_of_a_call_cover_its_time_in_order(tmp_path: Path) -> None:
    found = simulation(programs=1)
    slices = written(found, tmp_path).slices()
    assert [event.name for event in slices] == ["held", "to first token", "decode"] * TURNS
    for call, parts in zip(found.calls, zip(*[iter(slices)] * 3, strict=True), strict=True):
        assert parts[0].ts == round(call.arrived * 1e6)
        assert parts[-1].ts + parts[-1].dur == round(call.finished * 1e6)
        assert all(before.ts + before.dur == after.ts for before, after in pairwise(parts))


def test_calls_that_run_side_by_side_have_threads_of_their_own(tmp_path: Path) -> None:
    found = simulation(programs=1)
    twin = replace(found.calls[0], call="twin")
    trace = written(replace(found, calls=(*found.calls, twin)), tmp_path)
    assert sorted(trace.names("thread_name").values()) == ["p0", "p0 (2)"]
    ends: dict[tuple[int, int], int] = defaultdict(int)
    for event in trace.slices():
        assert event.ts >= ends[event.pid, event.tid], f"{event} overlaps the slice before it"
        ends[event.pid, event.tid] = event.ts + event.dur


def test_memory_and_queues_are_counters_of_their_engine(tmp_path: Path) -> None:
    found = simulation()
    counted = [event for event in written(found, tmp_path).traceEvents if isinstance(event, Counted)]
    memory = [event for event in counted if event.name == "KV tokens" and event.pid == 1]
    assert [event.args for event in memory] == [
        {"running": sample.kv_running, "retained": sample.kv_retained} for sample in found.engines[0].samples
    ]
    assert {event.name for event in counted} == {"KV tokens", "calls waiting", "calls running"}


def test_a_trace_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text("before")
    unknown = replace(simulation(), engines=())
    with pytest.raises(KeyError):
        write_chrome_trace(unknown, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_json_even_without_calls_and_samples(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    write_chrome_trace(replace(simulation(), calls=(), engines=()), path)
    assert json.loads(path.read_text())["traceEvents"] == []
