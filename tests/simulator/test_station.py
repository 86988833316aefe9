"""An engine on the clock."""

from __future__ import annotations

from scheduler.types import DEFAULT_TENANT, CallId, ProgramKey
from simulator.clock import Clock
from simulator.content import Extent
from simulator.request import Output, Request
from simulator.station import Ears, Station
from tests.simulator.worlds import fleet


def station(clock: Clock, outputs: list[Output]) -> Station:
    ears = Ears(lambda _, new: outputs.extend(new), lambda _, reports: None, lambda _, pulse: None)
    return Station(fleet()[0], clock, ears)


def finished(clock: Clock, outputs: list[Output]) -> list[str]:
    while not clock.empty:
        clock.step()
    return [output.request for output in outputs if output.finished]


def request(name: str) -> Request:
    return Request(name, 10, 2, (Extent(hash(name), 12),))


def test_a_request_is_served_although_a_pin_is_ordered_in_the_same_moment() -> None:
    clock, outputs = Clock(), list[Output]()
    engine = station(clock, outputs)
    engine.submit(request("a"))
    engine.order(ProgramKey(DEFAULT_TENANT, "p"), 0.0)
    assert finished(clock, outputs) == ["a"]


def test_a_request_is_served_although_another_is_aborted_in_the_same_moment() -> None:
    clock, outputs = Clock(), list[Output]()
    engine = station(clock, outputs)
    engine.submit(request("a"))
    engine.submit(request("b"))
    engine.abort(CallId("b"))
    assert finished(clock, outputs) == ["a"]
    assert engine.engine.free_blocks == engine.model.config.num_blocks


def test_aborting_the_last_request_leaves_the_engine_idle() -> None:
    clock, outputs = Clock(), list[Output]()
    engine = station(clock, outputs)
    engine.submit(request("a"))
    clock.step()
    engine.abort(CallId("a"))
    assert finished(clock, outputs) == []
    assert engine.idle
