from __future__ import annotations

from pathlib import Path

import pytest

from simulator.profile import (
    CPU_SMOLLM2,
    FitError,
    Measured,
    ProfileError,
    SavedProfile,
    StepProfile,
    StepWork,
    load_profile,
    read_profile,
    save_profile,
    shipped,
)

ROOFLINE = StepProfile("r", "test", constant=0.001, token=1e-5, token_floor=200, decode_context=1e-8)


def decode_speed(batch: int, context: int = 300) -> float:
    work = StepWork(decode_batch=batch, decode_context=batch * context)
    return batch / CPU_SMOLLM2.seconds(work)


def prefill_seconds(tokens: int) -> float:
    chunks = [(start, min(2048, tokens - start)) for start in range(0, tokens, 2048)]
    return sum(CPU_SMOLLM2.seconds(StepWork(size, size * (start + size / 2))) for start, size in chunks)


def test_the_built_in_profile_has_the_measured_speeds() -> None:
    assert decode_speed(1, 1200) == pytest.approx(24.3, rel=0.05)
    assert prefill_seconds(1485) == pytest.approx(0.615 - 0.034, rel=0.1)
    assert prefill_seconds(2959) == pytest.approx(1.543 - 0.034, rel=0.1)


def test_the_built_in_profile_says_what_it_was_measured_on_and_how_well() -> None:
    measured = shipped("cpu-smollm2").measured
    assert measured is not None
    assert measured.model == "smollm2"
    assert measured.fit.keys() == {"prefill", "cached", "decode"}
    assert max(error.median for error in measured.fit.values()) < 0.1


def test_fewer_tokens_than_the_floor_cost_as_much_as_the_floor() -> None:
    assert ROOFLINE.seconds(StepWork(decode_batch=1)) == ROOFLINE.seconds(StepWork(decode_batch=200))
    assert ROOFLINE.seconds(StepWork(prefill_tokens=200, decode_batch=100)) == pytest.approx(0.001 + 300e-5)


def test_steps_of_one_decoding_batch_grow_by_its_contexts_alone() -> None:
    steps = [ROOFLINE.seconds(StepWork(decode_batch=8, decode_context=8 * length)) for length in (100, 101, 102)]
    assert steps[1] - steps[0] == pytest.approx(8 * ROOFLINE.decode_context)
    assert steps[2] - steps[1] == pytest.approx(8 * ROOFLINE.decode_context)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    measured = Measured(
        "m", "a box", "2026-01-01", "calibrate", 4096, 2048, 64, fit={"decode": FitError(9, 0.01, 0.03)}
    )
    save_profile(ROOFLINE, tmp_path / "p.json", measured)
    assert read_profile(tmp_path / "p.json") == SavedProfile(ROOFLINE, measured)
    assert load_profile(tmp_path / "p.json") == ROOFLINE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"name": "p", "source": "s", "constant": 0}', "constant: Input should be greater than 0"),
        ('{"name": "p", "source": "s", "constant": 1, "prefil": 1}', "prefil: Extra inputs are not permitted"),
        ('{"name": "p", "constant": 1}', "source: Field required"),
        ('{"format": "other/2", "name": "p", "source": "s", "constant": 1}', "format: Input should be"),
        ('{"name": "p", "source": "s", "constant": 1, "measured": {}}', "measured.model: Field required"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_by_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message) as error:
        load_profile(path)
    assert str(path) in str(error.value)


def test_a_step_that_takes_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="constant must be above zero"):
        StepProfile("p", "test", constant=0.0)
    with pytest.raises(ValueError, match="the others not below it"):
        StepProfile("p", "test", constant=1.0, decode_request=-1.0)
