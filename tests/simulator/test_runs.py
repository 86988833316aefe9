"""Steps that only decode are taken as one, and end as they would have ended one by one."""

from __future__ import annotations

import dataclasses

import pytest

from simulator.engine import EngineConfig
from simulator.pace import Pace
from tests.simulator.driver import Drive, request

CONFIG = EngineConfig(num_blocks=64, block_size=4, max_model_len=128, max_num_seqs=4, max_num_batched_tokens=64)


def test_a_request_alone_takes_two_events() -> None:
    drive = Drive(CONFIG)
    drive.add(request("a", [(1, 6)], output=50, quiet=50))
    drive.run()
    assert [(at, output.produced, output.finished) for at, output in drive.outputs] == [
        (1.0, 1, False),
        (50.0, 50, True),
    ]


def test_an_arrival_ends_a_run_with_the_step_under_way() -> None:
    drive = Drive(CONFIG)
    drive.add(request("a", [(1, 6)], output=50, quiet=50))
    drive.step()
    drive.step()
    assert drive.next == 50.0
    drive.engine.add(request("b", [(2, 6)], output=2), 7.5)
    assert drive.engine.next_time == 8.0
    drive.next = drive.engine.next_time
    drive.run()
    assert [(at, output.request) for at, output in drive.outputs] == [(1.0, "a"), (9.0, "b"), (10.0, "b"), (50.0, "a")]


def test_what_arrives_as_a_step_ends_is_in_the_next_one() -> None:
    drive = Drive(CONFIG)
    drive.add(request("a", [(1, 6)], output=50, quiet=50))
    drive.step()
    drive.step()
    drive.engine.add(request("b", [(2, 6)]), 8.0)
    assert drive.engine.next_time == 8.0


def test_a_request_is_quiet_until_it_is_longer_than_its_driver_expects() -> None:
    drive = Drive(CONFIG)
    drive.add(request("a", [(1, 6)], output=50, quiet=25))
    for _ in range(3):
        drive.step()
    assert [(at, output.produced) for at, output in drive.outputs] == [(1.0, 1), (26.0, 26)]
    drive.engine.hush("a", 40)
    assert drive.step() == ()
    assert drive.engine.progress(30.5) == {"a": 30}
    drive.step()
    drive.engine.hush("a", 47)
    drive.run()
    assert [output.produced for _, output in drive.outputs] == [1, 26, 41, 48, 49, 50]
    drive.engine.hush("a", 60)


def test_a_request_of_which_nothing_is_expected_tells_of_every_token() -> None:
    drive = Drive(CONFIG)
    drive.add(request("loud", [(1, 6)], output=4), request("quiet", [(2, 6)], output=4, quiet=9))
    drive.run()
    told = [(output.request, output.produced) for _, output in drive.outputs]
    assert [produced for name, produced in told if name == "loud"] == [1, 2, 3, 4]
    assert [produced for name, produced in told if name == "quiet"] == [1, 4]


def test_what_comes_in_the_middle_of_a_step_is_looked_at_when_it_ends() -> None:
    drive = Drive(CONFIG)
    drive.serve(request("p", [(1, 8)], program="p", rank=0, ttl=9.5))
    drive.add(request("a", [(2, 6)], output=50, quiet=50))
    drive.step()
    drive.step()
    drive.engine.retain("p", 30.0, 4.5)
    drive.engine.add(request("b", [(3, 6)]), 4.6)
    drive.engine.add(request("c", [(4, 6)]), 4.7)
    drive.engine.abort("c", 4.8)
    assert (drive.engine.waiting, drive.engine.retention.next_expiry) == (2, 10.5)
    drive.next = drive.engine.next_time
    drive.step()
    assert (drive.now, drive.engine.waiting, drive.engine.running) == (5.0, 0, 2)
    assert drive.engine.retention.next_expiry == 35.0


def test_gauges_are_of_the_time_that_is_asked_for() -> None:
    drive = Drive(CONFIG)
    drive.add(request("a", [(1, 6)], output=50, quiet=50))
    drive.step()
    drive.step()
    assert drive.engine.free_blocks == 62
    drive.engine.advance(20.5)
    assert drive.engine.free_blocks == 64 - 7, "26 tokens have KV or are being computed"
    assert drive.engine.next_time == 50.0


def test_a_run_ends_with_the_step_in_which_a_pin_expires() -> None:
    drive = Drive(CONFIG)
    drive.serve(request("p", [(1, 8)], program="p", rank=0, ttl=9.5))
    drive.add(request("a", [(2, 6)], output=50, quiet=50))
    drive.step()
    drive.step()
    assert drive.next == 11.0


def test_a_run_ends_before_memory_does() -> None:
    drive = Drive(dataclasses.replace(CONFIG, num_blocks=32))
    drive.serve(
        request("low", [(1, 14)], output=60, priority=2, quiet=60),
        request("high", [(2, 14)], output=60, priority=1, quiet=60),
    )
    assert drive.engine.preemptions == 1


@pytest.mark.parametrize("growth", [0.0, 1e-6, 0.25])
def test_the_steps_of_a_run_end_when_single_steps_would(growth: float) -> None:
    pace = Pace(3.0, 0.7, growth)
    ends, time = [], 3.0
    for step in range(200):
        time += 0.7 + growth * step
        ends.append(time)
    assert [pace.end(step + 1) for step in range(200)] == pytest.approx(ends, rel=1e-12)
    assert [pace.steps_until(pace.end(step)) for step in range(1, 200)] == list(range(1, 200))
    assert [pace.steps_until(pace.end(step) + 0.01) for step in range(1, 200)] == list(range(2, 201))
