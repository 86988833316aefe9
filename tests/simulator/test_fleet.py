from __future__ import annotations

from pathlib import Path

import pytest

from simulator.fleet import FleetError, parse_fleet
from simulator.profile import CPU_SMOLLM2, Measured, StepProfile, save_profile

MODEL = "llama-3.1-70b"
PROFILE = StepProfile("mine", "test", constant=0.01)
MEASURED = Measured("tiny", "a box", "2026-01-01", "calibrate", 2000, 1024, 32, 16, 500, request_overhead=0.002)


def test_a_fleet_names_its_engines_and_counts_equal_ones_on() -> None:
    engines = parse_fleet("2xA100:w4, A6000:w4,1xA100:tp4", MODEL)
    assert [engine.name for engine in engines] == ["a100-0", "a100-1", "a6000-0", "a100-2"]
    assert [engine.hardware for engine in engines] == ["A100:w4", "A100:w4", "A6000:w4", "A100:tp4"]


def test_kv_memory_follows_from_hardware_weights_and_parallelism() -> None:
    a100, a6000, four = parse_fleet("A100:w4,A6000:w4,A100:tp4", MODEL)
    assert a6000.config.kv_tokens < a100.config.kv_tokens < four.config.kv_tokens
    assert a6000.config.max_model_len == a6000.config.kv_tokens
    assert four.config.max_model_len == 131_072


def test_hexgens_setting_needs_no_more_than_its_name() -> None:
    engines = parse_fleet("hexgen")
    assert [engine.hardware for engine in engines] == ["A100:w4", "A100:w4", "A6000:w4:mem95", "L40S:w4:mem95"]
    assert all("llama-3.1-70b w4" in engine.profile.name for engine in engines)
    assert min(engine.config.max_model_len for engine in engines) > 10_000


def test_sizes_and_the_plugin_are_options() -> None:
    (engine,) = parse_fleet("H100:kv8192:len4096:seqs16:batch512:stock", "llama-3.1-8b")
    config = engine.config
    assert (config.kv_tokens, config.max_model_len) == (8192, 4096)
    assert (config.max_num_seqs, config.max_num_batched_tokens) == (16, 512)
    assert not engine.plugin
    (less,) = parse_fleet("H100:mem50", "llama-3.1-8b")
    (usual,) = parse_fleet("H100", "llama-3.1-8b")
    assert less.config.kv_tokens < usual.config.kv_tokens
    assert usual.plugin


def test_the_measured_cpu_engine_is_a_fleet() -> None:
    (engine,) = parse_fleet("cpu-smollm2:kv4096")
    assert engine.profile == CPU_SMOLLM2
    assert (engine.config.kv_tokens, engine.config.max_model_len) == (4096, 4096)
    assert engine.request_overhead > 0


def test_a_calibrated_profile_is_a_fleet(tmp_path: Path) -> None:
    save_profile(PROFILE, tmp_path / "mine.json", MEASURED)
    engines = parse_fleet(f"2x{tmp_path}/mine.json", "tiny")
    assert [engine.name for engine in engines] == ["mine-0", "mine-1"]
    assert engines[0].profile == PROFILE
    assert engines[0].config.kv_tokens == 8000
    assert engines[0].config.max_model_len == 2000
    assert engines[0].request_overhead == 0.002


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one of its parts is empty"),
        ("A100:w4,", "one of its parts is empty"),
        ("0xA100", "'0xA100': there must be at least one"),
        ("A1OO", "'A1OO': there is no GPU or profile 'A1OO'; did you mean 'A100'"),
        ("2xTPU", "there is no GPU or profile 'TPU'; known are H200, H100"),
        ("A100:w5", "there is no option 'w5'; did you mean 'w4'"),
        ("A100:tp", "there is no option 'tp'"),
        ("hexgen,A100:w4", "'hexgen' is a whole fleet, and stands alone"),
        ("A100:w4:mem101", "memN is a percentage, at most 100"),
        ("A100:kv0", "there is no option 'kv0'"),
        ("cpu-smollm2:offload9000", "tp, mem and offload are for modelled GPUs"),
        ("A100", "llama-3.1-70b in bf16 takes .* GiB more than"),
        ("A100:tp3", "cannot be divided among 3 GPUs"),
        ("A100:w4:kv900000", "900000 tokens of KV are .* more than fit"),
        ("A100:w4:kv512:len1024", "max_model_len is 1024 tokens, but the KV memory holds 512"),
        ("none.json", "none.json cannot be read: No such file"),
        ("cpu-smollm2", "was measured on the model smollm2 .*, not llama-3.1-70b"),
        ("cpu-smollm2:tp2", "an engine as it was measured"),
        ("A100:w4:bf16", "w4 and bf16 say the same thing twice, or contradict"),
        ("A100:w4:kv512:kv1024", "kv512 and kv1024 say the same thing twice"),
        ("A100:w4:stock:stock", "stock and stock say"),
        ("A100:w4:len131073", "len131073 is more than the model's own limit of 131072 tokens"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused_by_part(text: str, message: str) -> None:
    with pytest.raises(FleetError, match=message):
        parse_fleet(text, MODEL)


def test_a_gpu_without_a_model_is_refused() -> None:
    with pytest.raises(FleetError, match=r"'H100': a GPU needs a model; name one of llama-3\.1-8b"):
        parse_fleet("H100")


def test_an_unknown_model_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(FleetError, match=r"no model 'llama-3-70b'; did you mean 'llama-3\.1-70b'"):
        parse_fleet("H100", "llama-3-70b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "bad.json: Invalid JSON"),
        ('{"name": "p", "source": "s", "constant": 1, "token": -1}', "bad.json: token: Input should be greater"),
        ('{"name": "p", "source": "s", "constant": 1}', "its field `measured` is missing"),
    ],
)
def test_a_bad_profile_file_is_refused_by_file_and_field(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(FleetError, match=message):
        parse_fleet(f"{tmp_path}/bad.json")


def test_a_profile_without_kv_memory_asks_for_it(tmp_path: Path) -> None:
    save_profile(PROFILE, tmp_path / "p.json", Measured("tiny", "a box", "2026-01-01", "calibrate", 2000, 1024, 32))
    with pytest.raises(FleetError, match=r"measured\.num_blocks\); add :kvN"):
        parse_fleet(f"{tmp_path}/p.json")
    (engine,) = parse_fleet(f"{tmp_path}/p.json:kv4000")
    assert engine.config.max_model_len == 2000


def test_a_stock_engine_orders_its_queue_by_arrival(tmp_path: Path) -> None:
    save_profile(PROFILE, tmp_path / "mine.json", MEASURED)
    for what in ("H100", f"{tmp_path}/mine.json"):
        usual, stock = parse_fleet(f"{what},{what}:stock", "llama-3.1-8b" if what == "H100" else "tiny")
        assert (usual.config.priority, stock.config.priority) == (True, False)


def test_profiles_of_different_models_are_no_fleet(tmp_path: Path) -> None:
    save_profile(PROFILE, tmp_path / "mine.json", MEASURED)
    with pytest.raises(FleetError, match=r"serve one model, but cpu-smollm2 was measured on smollm2, .*on tiny"):
        parse_fleet(f"cpu-smollm2,{tmp_path}/mine.json")


def test_a_context_above_what_was_measured_is_refused(tmp_path: Path) -> None:
    save_profile(PROFILE, tmp_path / "mine.json", MEASURED)
    with pytest.raises(FleetError, match="len2001 is more than the model's own limit of 2000"):
        parse_fleet(f"{tmp_path}/mine.json:len2001", "tiny")


def test_engines_know_whether_they_were_measured_and_what_they_serve() -> None:
    (measured,), (modelled,) = parse_fleet("cpu-smollm2"), parse_fleet("A100:w4", MODEL)
    assert (measured.modelled, measured.model) == (False, "smollm2")
    assert (modelled.modelled, modelled.model) == (True, MODEL)


def test_an_offload_tier_loads_as_fast_as_its_gpus_links() -> None:
    one, two = (parse_fleet(f"A100:w4:tp{count}:offload500000", "llama-3.1-70b")[0].config for count in (1, 2))
    assert (one.offload_tokens, two.offload_tokens) == (500_000, 500_000)
    assert one.load_tokens_per_s == pytest.approx(20e9 / (2 * 80 * 8 * 128 * 2))
    assert two.load_tokens_per_s == pytest.approx(2 * one.load_tokens_per_s)
