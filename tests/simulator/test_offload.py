"""Contexts that have lost their KV memory come back from the CPU's."""

from __future__ import annotations

import dataclasses

import pytest

from simulator.profile import StepProfile
from tests.simulator.driver import SMALL, Drive, request

TIER = dataclasses.replace(SMALL, offload_tokens=64, load_tokens_per_s=8.0)


def push_out(drive: Drive) -> None:
    """Fills the whole KV memory with something else."""
    drive.serve(request(f"other {drive.now}", [(99, 30)]))


def test_what_was_taken_from_the_kv_memory_is_loaded_and_counts_as_cached() -> None:
    drive = Drive(TIER)
    drive.serve(request("a", [(1, 18)]))
    push_out(drive)
    began = drive.now
    (again,) = drive.serve(request("a again", [(1, 18), (2, 2)]))
    assert again.cached == 16
    assert drive.now - began == 1.0 + 16 / 8.0, "one step, and the time that loading takes"


def test_only_what_the_kv_memory_lost_is_loaded() -> None:
    drive = Drive(TIER)
    drive.serve(request("a", [(1, 18)]))
    drive.serve(request("b", [(2, 18)]))
    began = drive.now
    (again,) = drive.serve(request("a again", [(1, 18), (3, 2)]))
    assert again.cached == 16
    assert 1.0 < drive.now - began < 1.0 + 16 / 8.0


def test_without_a_tier_what_is_lost_is_computed_again() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 18)]))
    push_out(drive)
    assert drive.serve(request("a again", [(1, 18), (2, 2)]))[0].cached == 0


def test_the_tier_forgets_what_was_used_longest_ago_and_of_that_the_end_first() -> None:
    drive = Drive(dataclasses.replace(TIER, offload_tokens=56))
    drive.serve(request("a", [(1, 18)]))
    drive.serve(request("b", [(2, 18)]))
    push_out(drive)
    (again,) = drive.serve(request("b again", [(2, 18), (3, 1)]))
    assert again.cached == 16
    push_out(drive)
    (again,) = drive.serve(request("a again", [(1, 18), (3, 1)]))
    assert again.cached == 12


def test_a_request_that_was_preempted_is_loaded_as_far_as_it_had_come() -> None:
    profile = StepProfile("test", "prefills have their price", constant=1.0, prefill_token=0.1)
    ends = []
    for tokens in (0, 1000):
        drive = Drive(dataclasses.replace(TIER, offload_tokens=tokens, load_tokens_per_s=1000.0), profile)
        drive.serve(request("low", [(1, 14)], output=12, priority=2), request("high", [(2, 14)], output=12, priority=1))
        assert drive.engine.preemptions == 1
        ends.append(drive.now)
    assert ends[1] < ends[0]


@pytest.mark.parametrize(("tokens", "speed"), [(-1, 8.0), (64, 0.0)])
def test_a_tier_of_no_possible_size_or_speed_is_refused(tokens: int, speed: float) -> None:
    with pytest.raises(ValueError, match="offload_tokens is at least 0"):
        dataclasses.replace(TIER, offload_tokens=tokens, load_tokens_per_s=speed)
