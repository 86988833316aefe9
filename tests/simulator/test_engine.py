from __future__ import annotations

import dataclasses

import pytest

from simulator.engine import EngineConfig, RequestError
from simulator.profile import StepProfile
from simulator.request import Request
from tests.simulator.driver import SMALL, Drive, request


def finish_times(drive: Drive) -> dict[str, float]:
    return {output.request: at for at, output in drive.outputs if output.finished}


def test_one_request_takes_a_step_to_prefill_and_one_for_every_further_token() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 6)], output=3))
    assert [(at, output.produced, output.finished) for at, output in drive.outputs] == [
        (1.0, 1, False),
        (2.0, 2, False),
        (3.0, 3, True),
    ]
    assert drive.next is None
    assert drive.engine.free_blocks == SMALL.num_blocks


def test_a_step_called_early_changes_nothing() -> None:
    drive = Drive()
    drive.add(request("a", [(1, 6)]))
    drive.step()
    assert drive.engine.step(0.5) == ((), 1.0)
    assert [output.finished for output in drive.step()] == [True]


def test_a_step_called_late_begins_the_next_one_late() -> None:
    drive = Drive()
    drive.add(request("a", [(1, 6)], output=2))
    drive.engine.step(0.0)
    result = drive.engine.step(5.0)
    assert [output.produced for output in result.outputs] == [1]
    assert result.next_time == 6.0


def test_a_long_prefill_is_cut_by_the_token_budget_and_shares_steps_with_decodes() -> None:
    drive = Drive()
    drive.add(request("a", [(1, 4)], output=5))
    drive.step()
    drive.add(request("b", [(2, 20)], output=2))
    drive.run()
    produced = [(at, output.request) for at, output in drive.outputs]
    assert produced == [(1.0, "a"), (2.0, "a"), (3.0, "a"), (3.0, "b"), (4.0, "a"), (4.0, "b"), (5.0, "a")]


def test_the_time_of_a_step_is_what_the_profile_says_of_its_work() -> None:
    profile = StepProfile("p", "test", 1.0, 0.1, 0.01, 0.5, 0.001)
    drive = Drive(profile=profile)
    drive.serve(request("a", [(1, 4)], output=2))
    prefill = 1.0 + 4 * 0.1 + (1 + 2 + 3 + 4) * 0.01
    decode = 1.0 + 0.5 + 4 * 0.001
    assert [at for at, _ in drive.outputs] == pytest.approx([prefill, prefill + decode])


def test_a_prefix_is_served_from_the_cache_in_whole_blocks() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 10)], output=3, answer=2))
    (again,) = drive.serve(request("b", [(1, 10), (2, 3), (3, 5)]))
    assert again.cached == 12, "ten prompt tokens and two of the answer fill three blocks"


def test_the_last_sampled_token_has_no_kv_yet() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 10)], output=2, answer=2))
    (again,) = drive.serve(request("b", [(1, 10), (2, 2), (3, 5)]))
    assert again.cached == 8


def test_of_a_prompt_that_is_cached_whole_the_last_block_is_computed_again() -> None:
    drive = Drive()
    drive.serve(request("a", [(1, 8)]))
    (again,) = drive.serve(request("b", [(1, 8)]))
    assert again.cached == 4


def test_requests_of_one_step_share_their_prefix() -> None:
    drive = Drive()
    outputs = drive.serve(request("a", [(1, 8), (2, 2)]), request("b", [(1, 8), (3, 2)]))
    assert [output.cached for output in outputs] == [0, 8]


def test_free_blocks_are_taken_least_recently_used_first_and_tail_first() -> None:
    drive = Drive()
    drive.serve(request("old", [(1, 15)]))
    drive.serve(request("new", [(2, 15)]))
    drive.serve(request("other", [(3, 11)]))
    assert drive.serve(request("new again", [(2, 15)]))[0].cached == 12
    assert drive.serve(request("old again", [(1, 15)]))[0].cached == 8, "its tail was taken, its head was not"


def test_a_prompt_waits_until_all_of_it_fits_and_stops_those_behind_it() -> None:
    drive = Drive()
    drive.add(request("running", [(1, 16)], output=4))
    drive.step()
    drive.add(request("too big", [(2, 20)]), request("small", [(3, 4)]))
    drive.run()
    assert finish_times(drive) == {"running": 4.0, "too big": 6.0, "small": 6.0}


def test_at_most_max_num_seqs_run() -> None:
    drive = Drive(dataclasses.replace(SMALL, max_num_seqs=1))
    drive.serve(request("a", [(1, 4)]), request("b", [(2, 4)]))
    assert finish_times(drive) == {"a": 1.0, "b": 2.0}


def test_the_waiting_queue_goes_by_priority_then_arrival() -> None:
    drive = Drive(dataclasses.replace(SMALL, max_num_seqs=1))
    ended = drive.serve(
        request("low", [(1, 4)], priority=5),
        request("high", [(2, 4)], priority=1),
        request("high later", [(3, 4)], priority=1),
    )
    assert [output.request for output in ended] == ["high", "high later", "low"]


def test_without_priority_it_goes_by_arrival() -> None:
    drive = Drive(dataclasses.replace(SMALL, max_num_seqs=1, priority=False))
    ended = drive.serve(request("low", [(1, 4)], priority=5), request("high", [(2, 4)], priority=1))
    assert [output.request for output in ended] == ["low", "high"]


@pytest.mark.parametrize(("by_priority", "first"), [(True, "high"), (False, "low")])
def test_when_memory_runs_out_one_request_is_preempted_and_computed_again(by_priority: bool, first: str) -> None:
    drive = Drive(dataclasses.replace(SMALL, priority=by_priority))
    ended = drive.serve(
        request("low", [(1, 14)], output=12, priority=2), request("high", [(2, 14)], output=12, priority=1)
    )
    assert drive.engine.preemptions == 1
    assert ended[0].request == first
    assert [output.produced for output in ended] == [12, 12]


def test_a_request_that_preempts_itself_lets_the_others_go_on() -> None:
    drive = Drive()
    drive.add(request("low", [(1, 14)], output=12, priority=2))
    drive.step()
    drive.add(request("high", [(2, 12)], output=12, priority=1))
    drive.run()
    assert drive.engine.preemptions == 1
    assert list(finish_times(drive)) == ["high", "low"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_aborted_request_gives_back_its_blocks_and_says_nothing_more(steps: int) -> None:
    drive = Drive()
    drive.add(request("a", [(1, 20)], output=5), request("b", [(2, 4)], output=2))
    for _ in range(steps):
        drive.step()
    drive.engine.abort("a", drive.now)
    drive.engine.abort("nobody", drive.now)
    drive.engine.check_integrity()
    drive.run()
    assert drive.engine.free_blocks == SMALL.num_blocks
    assert [output.request for _, output in drive.outputs if output.finished] == ["b"]
    assert not any(output.request == "a" for _, output in drive.outputs)


def test_an_idle_engine_has_no_next_time() -> None:
    assert Drive().engine.step(3.0) == ((), None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (request("here", [(1, 4)]), "is here already"),
        (request("x", [(1, 32)]), "33 tokens long, but the model's limit is 32"),
        (request("x", [(1, 4)], output=0), "at least one prompt token and one output token"),
        (dataclasses.replace(request("x", [(1, 8)]), prompt_tokens=9), "is 10 tokens long, but its content has 9"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_by_name(bad: Request, message: str) -> None:
    drive = Drive()
    drive.add(request("here", [(1, 4)]))
    with pytest.raises(RequestError, match=message):
        drive.engine.add(bad, 0.0)


def test_an_engine_that_its_longest_request_does_not_fit_into_is_refused() -> None:
    with pytest.raises(ValueError, match="max_model_len is 33 tokens, but the KV memory holds 32"):
        EngineConfig(num_blocks=8, block_size=4, max_model_len=33)
    with pytest.raises(ValueError, match="at least 1"):
        EngineConfig(max_num_seqs=0)
