"""What the tuner makes of a recording: the latest calls, the engines' speed, and how a slice went."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from agentserve.gateway.tuning.errors import TuningError
from agentserve.gateway.tuning.pace import SHORTEST, Answer, answers, pace
from agentserve.gateway.tuning.recent import recent
from agentserve.gateway.tuning.slices import Period, measure
from agentserve.gateway.tuning.twin import FEWEST, describe, twins
from scheduler.types import EngineId
from simulator.profile import CPU_SMOLLM2, SavedProfile, StepProfile, StepWork, shipped
from tests.gateway.fakes import SPEC
from tests.gateway.traffic import ENGINE, call, recording
from workloads.traces.recording import RECORDING, CallStatus, RecordedCall

PROFILE = StepProfile("made up", "a test", constant=0.02, prefill_token=0.001, decode_request=0.01)


# --- the latest calls -------------------------------------------------------------------------------------------------


def test_every_cut_of_a_recording_is_found(tmp_path: Path) -> None:
    rng = Random(1)
    calls = [call(float(number), 0.5, "p" * rng.randint(1, 300)) for number in range(40)]
    path = recording(tmp_path / "calls.jsonl", calls)
    for since in [0.0, *(each.ended_s for each in calls), 1000.0]:
        assert recent(path, since, 1000) == [each for each in calls if each.ended_s >= since], since


def test_only_the_end_of_a_long_recording_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording(tmp_path / "calls.jsonl", [call(float(number), 0.5) for number in range(2000)])
    read: list[bytes] = []
    item = RECORDING.item

    def noted(line: bytes) -> RecordedCall:
        read.append(line)
        return item(line)

    monkeypatch.setattr(RECORDING, "item", noted)
    assert len(recent(path, 1990.5, 1000)) == 10
    assert len(read) < 40


def test_half_a_line_and_a_damaged_one_are_left_out(tmp_path: Path) -> None:
    calls = [call(float(number), 0.5) for number in range(10)]
    path = recording(tmp_path / "calls.jsonl", calls)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[6] = b"{damaged}\n"
    path.write_bytes(b"".join(lines)[:-10])
    whole = [each for number, each in enumerate(calls) if number not in (5, 9)]
    for since in (0.0, 3.0, 5.0, 6.0, 9.0):
        assert recent(path, since, 1000) == [each for each in whole if each.ended_s >= since]


def test_of_too_many_calls_the_latest_are_taken(tmp_path: Path) -> None:
    calls = [call(float(number), 0.5) for number in range(10)]
    assert recent(recording(tmp_path / "calls.jsonl", calls), 0.0, 3) == calls[-3:]


def test_a_recording_without_calls_has_none(tmp_path: Path) -> None:
    assert recent(recording(tmp_path / "calls.jsonl", []), 0.0, 1000) == []


# --- how fast an engine is --------------------------------------------------------------------------------------------


def streamed(count: int, step: float, request: float, seed: int = 1) -> list[Answer]:
    """Answers in waves: all of a wave begin and end together, so that each has as many beside it all the time."""
    rng, found, begin = Random(seed), list[Answer](), 0.0
    while len(found) < count:
        beside, gaps = rng.randint(1, 8), rng.randint(5, 50)
        end = begin + gaps * (step + request * beside)
        found += [Answer(begin, end, gaps, 100)] * beside
        begin = end + 1.0
    return found


def test_the_pace_of_answers_tells_a_step_and_what_a_request_adds() -> None:
    found = pace(streamed(60, step=0.03, request=0.002))
    assert found.step == pytest.approx(0.03)
    assert found.request == pytest.approx(0.002)


def test_prefills_of_others_are_not_taken_for_decoding() -> None:
    alone = [Answer(100.0 * number, 100.0 * number + 1.0, 20, 50) for number in range(10)]
    disturbed = [Answer(5000.0 + 100 * number, 5003.0 + 100 * number, 20, 50) for number in range(10)]
    intruders = [Answer(answer.begin + 1.0, answer.begin + 1.05, 1, 4000) for answer in disturbed]
    found = pace([*alone, *disturbed, *intruders])
    assert found.step + found.request == pytest.approx(0.05, rel=0.01)


def test_a_step_takes_time_even_if_answers_tell_of_none() -> None:
    assert pace([Answer(1.0, 1.0, 3, 10)] * 4).step == SHORTEST


def test_only_streamed_answers_of_that_engine_tell() -> None:
    whole = RecordedCall("p", 0.0, 1.0, "m", 10, engine=ENGINE, prompt_tokens=5, output_tokens=9)
    failed = RecordedCall("p", 0.0, 1.0, "m", 10, CallStatus.FAILED, engine=ENGINE, first_token_s=0.5)
    calls = [call(0.0, 10.0, cached=60), call(0.0, 10.0, output=1), whole, failed]
    assert answers(ENGINE, calls) == [Answer(1.0, 10.0, 10, 40)]
    assert answers(EngineId("b"), calls) == []


def test_an_engine_is_simulated_by_its_reported_sizes_and_the_profile_that_was_given() -> None:
    saved = shipped("cpu-smollm2")
    (twin,) = twins({ENGINE: replace(SPEC, models=("smollm2",))}, saved, {}, [])
    assert (twin.name, twin.config.kv_tokens, twin.config.block_size, twin.config.max_model_len) == (
        "a",
        8192,
        32,
        4096,
    )
    assert (twin.config.max_num_seqs, twin.config.priority, twin.plugin) == (256, True, True)
    assert twin.profile == CPU_SMOLLM2
    assert saved.measured is not None
    assert twin.config.max_num_batched_tokens == saved.measured.max_num_batched_tokens
    assert twin.request_overhead == saved.measured.request_overhead
    assert "a with 8,192 KV tokens, profile" in describe(twin)


def test_without_a_profile_the_speed_is_learned_and_that_is_said() -> None:
    rates = {ENGINE: 1000.0}
    calls = [call(100.0 * number, 10.0) for number in range(FEWEST)]
    (twin,) = twins({ENGINE: SPEC}, None, rates, calls)
    assert twin.profile.prefill_tokens_per_s == pytest.approx(1000.0)
    assert twin.profile.seconds(StepWork(decode_batch=1)) == pytest.approx(0.9)
    assert "prefill as the scheduler learned it, decode by 20 recorded answers" in describe(twin)
    (unknown,) = twins({ENGINE: SPEC}, None, {}, calls)
    assert "prefill as assumed" in describe(unknown)


def test_too_few_answers_tell_no_speed() -> None:
    with pytest.raises(TuningError, match=r"engine a has streamed 3 answers of late.*`tune.profile`"):
        twins({ENGINE: SPEC}, None, {}, [call(float(number), 1.0) for number in range(3)])


def test_a_profile_of_another_model_is_refused() -> None:
    with pytest.raises(TuningError, match=r"tune.profile: cpu-smollm2 was measured on the model smollm2 .* a serves m"):
        twins({ENGINE: SPEC}, shipped("cpu-smollm2"), {}, [])


def test_an_engine_is_simulated_in_whole_blocks() -> None:
    odd = replace(SPEC, kv_tokens=1000, block_size=64, max_model_len=4096)
    (twin,) = twins({ENGINE: odd}, SavedProfile(PROFILE), {}, [])
    assert (twin.config.kv_tokens, twin.config.max_model_len) == (960, 960)


def test_a_profile_serves_engines_of_every_size() -> None:
    (twin,) = twins({ENGINE: SPEC}, SavedProfile(PROFILE), {}, [])
    assert (twin.config.max_num_batched_tokens, twin.request_overhead) == (2048, 0.0)


# --- slices -----------------------------------------------------------------------------------------------------------


def test_a_slice_tells_how_long_calls_took_for_their_work_and_how_much_work_came() -> None:
    calls = [call(10.0 * number, 2.0, f"p{number}") for number in range(20)]
    alone = 100 * 0.001 + 11 * 0.03
    found = measure(Period(40.0, 120.0, new=True), calls, PROFILE)
    assert found is not None
    assert found.new
    assert found.stretch == pytest.approx(2.0 / alone)
    assert found.load == pytest.approx(6 * alone / 60.0), "calls of the first quarter count"


def test_a_history_that_is_extended_is_no_work() -> None:
    calls = [call(10.0 * turn, 2.0, "p", prompt=100 + 31 * turn, output=11) for turn in range(12)]
    found = measure(Period(0.0, 120.0, new=False), calls, PROFILE)
    assert found is not None
    assert found.stretch == pytest.approx(2.0 / (20 * 0.001 + 11 * 0.03))


def test_how_much_was_cached_changes_what_calls_took_and_not_their_work() -> None:
    calls = [call(10.0 * turn, 2.0, "p", prompt=100 + 31 * turn, cached=90 * (turn % 2)) for turn in range(12)]
    period = Period(0.0, 120.0, new=False)
    uncached = [call(10.0 * turn, 2.0, "p", prompt=100 + 31 * turn) for turn in range(12)]
    assert measure(period, calls, PROFILE) == measure(period, uncached, PROFILE)


def test_a_history_that_was_rewritten_is_work() -> None:
    calls = [call(10.0 * turn, 2.0, "p", prompt=100) for turn in range(12)]
    found = measure(Period(0.0, 120.0, new=False), calls, PROFILE)
    assert found is not None
    assert found.stretch == pytest.approx(2.0 / (100 * 0.001 + 11 * 0.03))


def test_a_slice_of_a_few_calls_shows_nothing() -> None:
    assert measure(Period(0.0, 100.0, new=True), [call(50.0 + number, 1.0) for number in range(4)], PROFILE) is None
    unanswered = RecordedCall("p", 50.0, 60.0, "m", 10, CallStatus.CANCELLED)
    assert measure(Period(0.0, 100.0, new=True), [unanswered] * 10, PROFILE) is None
