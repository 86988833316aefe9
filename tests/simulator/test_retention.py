from __future__ import annotations

import dataclasses

import pytest

from scheduler.events import PinOutcome
from simulator.retention import Report
from tests.simulator.driver import SMALL, Drive, request

APPLIED, HIT, EXPIRED, BROKEN, LOST = (
    PinOutcome.APPLIED,
    PinOutcome.HIT,
    PinOutcome.EXPIRED,
    PinOutcome.BROKEN,
    PinOutcome.LOST,
)


def reports(drive: Drive) -> list[Report]:
    return drive.engine.reports_since(0, drive.now)


def held(drive: Drive, content: int, size: int = 12) -> int:
    """How many tokens of a context are still cached (asked by a request that takes no part in retention)."""
    (output,) = drive.serve(request(f"probe {content} {drive.now}", [(content, size), (99, 1)]))
    return output.cached


def pinned(drive: Drive, program: str, content: int, rank: int, ttl: float = 100.0, size: int = 12) -> None:
    """Runs a first call of a program whose KV is retained for `ttl` seconds: `size` / 4 blocks."""
    drive.serve(request(program, [(content, size)], program=program, rank=rank, ttl=ttl))


def test_a_pin_is_free_memory() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0)
    assert drive.engine.free_blocks == SMALL.num_blocks
    assert drive.engine.usage == 0
    assert drive.engine.retention.protected_blocks == 3
    assert reports(drive) == [("p", APPLIED, 12)]


def test_plain_blocks_are_taken_before_pinned_ones() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0)
    for content in range(10, 14):
        drive.serve(request(f"plain {content}", [(content, 15)]))
    assert held(drive, 1) == 12
    assert held(drive, 12) < 12


def test_a_return_hits_the_pin_which_its_end_replaces() -> None:
    drive = Drive()
    drive.serve(request("first", [(1, 8)], output=5, answer=2, program="p", rank=0, ttl=100))
    drive.serve(request("second", [(1, 8), (2, 5), (3, 4)], program="p", rank=0, ttl=0))
    assert reports(drive) == [("p", APPLIED, 12), ("p", HIT, 12)]
    assert drive.engine.retention.protected_blocks == 0, "a time to live of zero pins nothing"


def test_a_pin_expires_when_its_time_has_passed() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=10)
    drive.wait(9.9)
    assert reports(drive) == [("p", APPLIED, 12)]
    drive.wait(0.2)
    assert reports(drive) == [("p", APPLIED, 12), ("p", EXPIRED, 12)]
    assert drive.engine.retention.protected_blocks == 0


def test_the_time_to_live_rests_while_a_call_of_the_program_is_live() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=10)
    drive.add(request("second", [(1, 12), (5, 1)], program="p", rank=0, ttl=0))
    drive.wait(60)
    assert reports(drive) == [("p", APPLIED, 12)]
    drive.run()
    assert reports(drive)[1:] == [("p", HIT, 12)]


def test_blocks_of_an_expired_pin_are_plain_ones_that_were_used_last() -> None:
    drive = Drive()
    pinned(drive, "short", 1, rank=0, ttl=5)
    pinned(drive, "long", 2, rank=1, ttl=1000)
    drive.wait(10)
    drive.serve(request("plain", [(10, 8)]))
    assert held(drive, 1) == 12
    drive.serve(request("newer", [(11, 15)]))
    assert held(drive, 2) == 12
    assert held(drive, 1) < 12


def test_a_pin_is_broken_latest_program_first_and_tail_first() -> None:
    drive = Drive()
    pinned(drive, "old", 1, rank=0)
    pinned(drive, "young", 2, rank=1)
    drive.serve(request("big", [(10, 15)], output=2))
    assert reports(drive)[2:] == [("young", BROKEN, 4)]
    assert held(drive, 1) == 12
    assert held(drive, 2) == 4


def test_a_pin_that_is_broken_further_is_reported_once() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, size=28)
    drive.serve(request("big", [(10, 28)], output=2))
    assert [report.outcome for report in reports(drive)] == [APPLIED, BROKEN]


def test_a_shared_block_stays_while_either_program_holds_it() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 8), (2, 4)], program="a", rank=0, ttl=1000))
    drive.serve(request("b", [(1, 8), (3, 4)], program="b", rank=1, ttl=1000))
    assert drive.engine.retention.protected_blocks == 4
    drive.engine.retain("a", 0, drive.now)
    drive.engine.check_integrity()
    assert drive.engine.retention.protected_blocks == 3
    drive.serve(request("plain", [(10, 16)]))
    assert held(drive, 1, size=8) == 8


def test_the_guard_keeps_a_waiting_call_from_breaking_older_programs_while_something_runs() -> None:
    drive = Drive()
    pinned(drive, "old", 1, rank=0, size=16)
    drive.add(request("running", [(5, 8)], output=4, program="r", rank=1))
    drive.step()
    drive.add(request("young", [(6, 8)], program="y", rank=2))
    drive.run()
    assert [output.request for _, output in drive.outputs if output.finished][-2:] == ["running", "young"]
    assert ("old", BROKEN) not in [(report.program, report.outcome) for report in reports(drive)]


@pytest.mark.parametrize(
    ("guard", "rank", "waits"), [(True, 9, True), (True, None, True), (True, -1, False), (False, 9, False)]
)
def test_the_guard_is_a_switch_and_spares_only_older_programs(guard: bool, rank: int | None, waits: bool) -> None:
    drive = Drive(dataclasses.replace(SMALL, guard=guard))
    pinned(drive, "old", 1, rank=0, size=20)
    drive.add(request("running", [(5, 4)], output=4))
    drive.step()
    drive.add(request("next", [(6, 12)], program="n", rank=rank))
    drive.step()
    assert drive.engine.waiting == waits


def test_when_nothing_runs_a_waiting_call_breaks_what_it_must() -> None:
    drive = Drive()
    pinned(drive, "old", 1, rank=0, size=24)
    (output,) = drive.serve(request("young", [(6, 24)], program="y", rank=9))
    assert output.finished
    assert ("old", BROKEN) in [(report.program, report.outcome) for report in reports(drive)]


def test_a_running_call_breaks_any_pin_rather_than_be_preempted() -> None:
    drive = Drive()
    pinned(drive, "old", 1, rank=0, size=20)
    drive.serve(request("young", [(6, 8)], output=12, program="y", rank=9))
    assert drive.engine.preemptions == 0
    assert ("old", BROKEN) in [(report.program, report.outcome) for report in reports(drive)]


def test_a_pin_survives_the_abort_of_its_programs_call() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=10)
    drive.add(request("second", [(1, 12), (5, 4)], program="p", rank=0, ttl=50))
    drive.step()
    drive.engine.abort("second", drive.now)
    assert drive.engine.retention.protected_blocks == 3
    drive.step()
    drive.wait(8)
    assert EXPIRED not in [report.outcome for report in reports(drive)]
    drive.wait(2)
    assert reports(drive)[-1] == ("p", EXPIRED, 12)
    assert drive.engine.retention.protected_blocks == 0


def test_asking_extends_a_pin_and_zero_releases_it() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=10)
    drive.engine.retain("p", 100, drive.now)
    drive.wait(50)
    assert reports(drive) == [("p", APPLIED, 12)]
    drive.engine.retain("p", 0, drive.now)
    assert drive.engine.retention.protected_blocks == 0
    assert reports(drive) == [("p", APPLIED, 12)]


def test_asking_while_the_call_runs_counts_from_its_end() -> None:
    drive = Drive()
    drive.add(request("first", [(1, 12)], output=3, program="p", rank=0, ttl=0))
    drive.step()
    drive.engine.retain("p", 10, drive.now)
    drive.run()
    drive.wait(9)
    assert drive.engine.retention.protected_blocks == 3
    assert reports(drive) == [("p", APPLIED, 12)]


def test_asking_after_the_end_pins_what_is_still_there() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=0)
    drive.serve(request("other", [(10, 20)], output=2))
    drive.engine.retain("p", 10, drive.now)
    drive.engine.check_integrity()
    assert reports(drive) == [("p", APPLIED, 8)]


def test_a_context_without_a_full_block_cannot_be_kept() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, size=3)
    assert reports(drive) == [("p", LOST, 0)]


def test_asking_for_what_is_gone_is_reported_lost() -> None:
    drive = Drive()
    pinned(drive, "p", 1, rank=0, ttl=0)
    drive.serve(request("other", [(10, 28)], output=4))
    drive.engine.retain("p", 10, drive.now)
    drive.engine.retain("nobody", 10, drive.now)
    assert reports(drive) == [("p", LOST, 0), ("nobody", LOST, 0)]
    assert drive.engine.retention.counters == {LOST: 2}


def test_reports_are_read_from_a_cursor() -> None:
    drive = Drive()
    for index in range(3):
        pinned(drive, f"p{index}", index, rank=index, size=4)
    assert drive.engine.retention.cursor == 3
    assert [report.program for report in drive.engine.reports_since(1, drive.now)] == ["p1", "p2"]
    assert drive.engine.reports_since(3, drive.now) == []
    assert drive.engine.reports_since(77, drive.now) == drive.engine.reports_since(0, drive.now)


def test_idle_programs_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.retention.PROGRAMS", 2)
    drive = Drive()
    for index in range(4):
        pinned(drive, f"p{index}", index, rank=index, ttl=0, size=4)
    for index in range(4):
        drive.engine.retain(f"p{index}", 10, drive.now)
    assert [report.outcome for report in reports(drive)] == [LOST, LOST, APPLIED, APPLIED]
