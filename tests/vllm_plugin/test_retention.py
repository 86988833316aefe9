from __future__ import annotations

import pytest

from agentserve.vllm_plugin import retention
from agentserve.vllm_plugin.reports import Outcome
from tests.vllm_plugin.world import World


def test_a_pinned_context_survives_what_evicts_everything_else() -> None:
    world = World(blocks=8)
    world.call("plain", "xyz")
    world.call("agent", "abc", ttl=10)
    world.squeeze(5)
    assert (world.cached("xyz"), world.cached("abc")) == (0, 3)
    assert world.reports() == [("agent", Outcome.APPLIED, 96)]


def test_protected_blocks_still_count_as_free() -> None:
    world = World(blocks=8)
    world.call("agent", "abc", ttl=10)
    assert (world.free, world.retention.ownership.held_blocks, world.retention.ownership.held_tokens) == (8, 3, 96)


def test_a_call_with_no_ttl_pins_nothing_and_drops_the_earlier_pin() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.call("agent", "abcd", ttl=0)
    assert world.retention.ownership.held_blocks == 0
    assert world.retention.released == 1


def test_an_expired_pin_is_evicted_after_what_was_plain_before_and_tail_first() -> None:
    world = World(blocks=6)
    world.call("agent", "abc", ttl=10)
    world.call("plain", "xyz")
    world.wait(10)
    assert world.reports(Outcome.EXPIRED) == [("agent", Outcome.EXPIRED, 96)]
    world.squeeze(4)
    assert (world.cached("xyz"), world.cached("abc")) == (0, 2)


def test_the_latest_program_is_broken_first_and_keeps_its_head() -> None:
    world = World(blocks=8)
    world.call("late", "wxyz", rank=9, ttl=10)
    world.call("early", "abcd", rank=1, ttl=10)
    world.squeeze(3)
    assert (world.cached("abcd"), world.cached("wxyz")) == (4, 1)
    assert world.reports(Outcome.BROKEN) == [("late", Outcome.BROKEN, 32)]


def test_breaking_is_reported_once_and_a_pin_broken_to_nothing_is_gone() -> None:
    world = World(blocks=4)
    world.call("agent", "abcd", rank=1, ttl=10)
    world.squeeze(1)
    world.squeeze(3)
    world.squeeze(4)
    assert world.reports(Outcome.BROKEN) == [("agent", Outcome.BROKEN, 96)]
    assert not world.retention.pins
    world.wait(20)
    assert not world.reports(Outcome.EXPIRED)


def test_a_program_without_a_rank_is_broken_before_those_with_one() -> None:
    world = World(blocks=6)
    world.call("nameless", "xyz", ttl=10)
    world.call("ranked", "abc", rank=1000, ttl=10)
    world.squeeze(3)
    assert (world.cached("xyz"), world.cached("abc")) == (0, 3)


def test_a_shared_block_stays_while_either_owner_holds_it() -> None:
    world = World(blocks=8)
    world.call("early", "sab", rank=1, ttl=10)
    world.call("late", "sxy", rank=2, ttl=20)
    world.squeeze(6)
    assert (world.cached("sab"), world.cached("sxy")) == (2, 1)
    world.wait(10)
    assert world.retention.ownership.held_blocks == 1, "the shared head is still the later program's"
    world.squeeze(7)
    assert world.cached("s") == 1


def test_the_ttl_rests_while_the_program_has_a_call() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.wait(6)
    world.arrive("waiting", "agent", ttl=10)
    world.wait(100)
    assert not world.reports(Outcome.EXPIRED)
    world.end("waiting", finished=False)
    world.wait(3.9)
    assert not world.reports(Outcome.EXPIRED)
    world.wait(0.2)
    assert world.reports(Outcome.EXPIRED) == [("agent", Outcome.EXPIRED, 96)]


def test_an_aborted_call_leaves_the_earlier_pin() -> None:
    world = World(blocks=8)
    world.call("agent", "abc", ttl=10)
    world.arrive("again", "agent", ttl=10)
    assert world.admit("again", "abcde")
    world.end("again", finished=False)
    assert world.retention.pins["agent"].tokens == 96
    world.squeeze(5)
    assert world.cached("abcde") == 3


def test_an_aborted_call_pins_nothing_by_itself() -> None:
    world = World()
    world.arrive("call", "agent", ttl=10)
    assert world.admit("call", "abc")
    world.end("call", finished=False)
    assert not world.retention.pins


def test_a_return_is_a_hit_once_for_each_pin() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.call("agent", "abcd", ttl=10)
    world.call("agent", "abcde", ttl=0)
    assert world.reports(Outcome.HIT) == [("agent", Outcome.HIT, 96), ("agent", Outcome.HIT, 128)]


def test_a_return_after_the_end_of_the_ttl_is_no_hit() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.now += 10
    world.call("agent", "abcd", ttl=0)
    assert [outcome for _, outcome, _ in world.reports()] == [Outcome.APPLIED, Outcome.EXPIRED]


def test_an_order_extends_a_pin_from_now() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.wait(9)
    world.order("agent", 10)
    world.wait(9)
    assert not world.reports(Outcome.EXPIRED)
    world.wait(1)
    assert world.reports(Outcome.EXPIRED)


def test_an_order_of_zero_releases() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.order("agent", 0)
    assert not world.retention.pins
    assert world.retention.ownership.held_blocks == 0
    assert [outcome for _, outcome, _ in world.reports()] == [Outcome.APPLIED]


def test_an_order_during_a_call_counts_from_its_end() -> None:
    world = World()
    world.arrive("call", "agent", ttl=0)
    assert world.admit("call", "abc")
    world.order("agent", 10)
    world.wait(50)
    world.end("call")
    world.wait(9.9)
    assert world.retention.pins["agent"].tokens == 96
    world.wait(0.2)
    assert not world.retention.pins


def test_an_order_during_a_call_is_for_that_call_only() -> None:
    world = World()
    world.arrive("call", "agent", ttl=5)
    world.order("agent", 0)
    world.end("call")
    world.call("agent", "abc", ttl=5)
    assert world.retention.pins["agent"].tokens == 96


def test_a_call_that_leaves_nothing_lets_the_earlier_pin_go_on() -> None:
    world = World()
    world.call("agent", "abc", ttl=5)
    world.wait(4)
    world.call("agent", "", ttl=5)
    world.wait(4)
    assert world.retention.pins["agent"].tokens == 96
    world.call("agent", "", ttl=0)
    assert not world.retention.pins


def test_a_release_during_a_call_makes_it_pin_nothing() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.arrive("call", "agent", ttl=10)
    assert world.admit("call", "abcd")
    world.order("agent", 0)
    world.end("call")
    assert not world.retention.pins


def test_a_pin_can_be_asked_for_after_the_fact() -> None:
    world = World(blocks=6)
    world.call("agent", "abc")
    world.order("agent", 10)
    world.squeeze(6 - 3)
    assert world.cached("abc") == 3
    assert world.reports() == [("agent", Outcome.APPLIED, 96)]


def test_a_pin_after_the_fact_protects_what_is_left_of_the_context() -> None:
    world = World(blocks=6)
    world.call("agent", "abcd")
    world.squeeze(3)
    assert world.cached("abcd") == 3
    world.order("agent", 10)
    assert world.reports() == [("agent", Outcome.APPLIED, 96)]
    world.check()


def test_an_order_covers_the_context_of_a_call_that_was_cut_short_by_a_stop_string() -> None:
    """vLLM ends such a call by an abort; only the client knows that it is complete."""
    world = World()
    world.call("agent", "abc", ttl=10)
    world.arrive("cut", "agent", ttl=10)
    assert world.admit("cut", "abcde")
    world.end("cut", finished=False)
    world.order("agent", 10)
    assert world.retention.pins["agent"].tokens == 160


def test_an_order_for_what_is_not_there_is_lost() -> None:
    world = World(blocks=4)
    world.order("stranger", 10)
    world.call("agent", "abc")
    world.squeeze(4)
    world.order("agent", 10)
    world.order("stranger", 0)
    assert world.reports() == [("stranger", Outcome.LOST, 0), ("agent", Outcome.LOST, 0)]


def test_a_call_shorter_than_a_block_is_lost() -> None:
    world = World()
    world.call("agent", "", ttl=10)
    assert world.reports() == [("agent", Outcome.LOST, 0)]


def test_a_waiting_call_may_break_only_programs_that_are_not_older() -> None:
    world = World(blocks=6)
    world.call("early", "abc", rank=1, ttl=10)
    world.call("late", "xyz", rank=3, ttl=10)
    world.arrive("middle", "middle", rank=2)
    assert not world.admit("middle", "mnop", guarded=True)
    assert world.admit("middle", "mno", guarded=True)
    assert (world.cached("abc"), world.cached("xyz")) == (3, 0)


def test_a_waiting_call_may_reuse_what_older_programs_hold() -> None:
    world = World(blocks=4)
    world.call("early", "sab", rank=1, ttl=10)
    world.arrive("late", "late", rank=2)
    assert world.admit("late", "sabx", guarded=True)
    assert world.running["late"].reused == 3


def test_a_program_is_not_held_back_by_its_own_pin_when_its_rank_changes() -> None:
    world = World(blocks=4)
    world.call("agent", "abc", rank=1, ttl=10)
    world.arrive("again", "agent", rank=7)
    assert world.admit("again", "wxyz", guarded=True)


def test_a_request_of_no_program_is_held_back_by_every_pin() -> None:
    world = World(blocks=6)
    world.call("agent", "abc", ttl=10)
    assert not world.admit("stranger", "wxyz", guarded=True)
    assert world.admit("stranger", "xyz", guarded=True)


def test_clearing_reports_every_pin_lost_and_forgets_contexts() -> None:
    world = World()
    world.call("agent", "abc", ttl=10)
    world.retention.clear()
    assert world.reports(Outcome.LOST) == [("agent", Outcome.LOST, 96)]
    assert len(world.listed) == world.free == 12
    world.order("agent", 10)
    assert world.reports(Outcome.LOST)[-1] == ("agent", Outcome.LOST, 0)


def test_a_pin_follows_the_program_to_its_new_context() -> None:
    world = World()
    world.call("agent", "abcd", ttl=10)
    world.call("agent", "abx", ttl=10)
    assert [chr(entry.hash[-1]) for entry in world.retention.pins["agent"].kept] == ["a", "b", "x"]
    assert world.retention.ownership.held_blocks == 3
    world.check()


def test_programs_are_forgotten_oldest_first_but_never_while_they_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_PROGRAMS", 3)
    world = World()
    world.call("pinned", "p", ttl=10)
    for name in ("a", "b", "c"):
        world.call(name, name)
    world.order("a", 10)
    world.order("c", 10)
    world.order("pinned", 20)
    assert world.reports()[-2:] == [("a", Outcome.LOST, 0), ("c", Outcome.APPLIED, 32)]
