from __future__ import annotations

from pathlib import Path

import pytest

from simulator.profile import CPU_SMOLLM2, ProfileError, StepProfile, StepWork, load_profile, save_profile


def decode_speed(batch: int, context: int = 300) -> float:
    work = StepWork(decode_batch=batch, decode_context=batch * context)
    return batch / CPU_SMOLLM2.seconds(work)


def prefill_seconds(tokens: int) -> float:
    chunks = [(start, min(2048, tokens - start)) for start in range(0, tokens, 2048)]
    return sum(CPU_SMOLLM2.seconds(StepWork(size, size * (start + size / 2))) for start, size in chunks)


def test_the_built_in_profile_has_the_measured_speeds() -> None:
    assert decode_speed(1) == pytest.approx(29, rel=0.05)
    assert decode_speed(16) == pytest.approx(320, rel=0.1)
    assert 500 / prefill_seconds(500) == pytest.approx(2000, rel=0.1)
    assert prefill_seconds(3000) == pytest.approx(1.7, rel=0.05)


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_profile(CPU_SMOLLM2, tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == CPU_SMOLLM2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"name": "p", "source": "s", "constant": 0}', "constant: Input should be greater than 0"),
        ('{"name": "p", "source": "s", "constant": 1, "prefil": 1}', "prefil: Extra inputs are not permitted"),
        ('{"name": "p", "constant": 1}', "source: Field required"),
        ('{"format": "other/2", "name": "p", "source": "s", "constant": 1}', "format: Input should be"),
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
