from __future__ import annotations

from pathlib import Path

import pytest

from agentserve.config import Launch
from agentserve.engines import command, installed


def args(launch: Launch) -> list[str]:
    return command.command_args(launch, "name", 8101)


def cpu_build(monkeypatch: pytest.MonkeyPatch, *, is_cpu: bool, emulates: bool = False) -> None:
    monkeypatch.setattr(installed, "is_cpu_build", lambda: is_cpu)
    monkeypatch.setattr(installed, "emulates_bfloat16", lambda: emulates)


def test_stock_vllm_gets_no_flag_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_build(monkeypatch, is_cpu=False)
    launch = Launch(model="m", plugin=False, args=["--max-model-len", "4096"])
    ours = "--model m --served-model-name name --host 127.0.0.1 --port 8101 --disable-uvicorn-access-log"
    assert " ".join(args(launch)) == f"{ours} --max-model-len 4096"
    assert command.environment(launch, {"HOME": "/h"}) == {"HOME": "/h"}
    assert not command.known(launch, "name").priority


def test_a_cpu_build_runs_eagerly_with_a_gigabyte_of_kv(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_build(monkeypatch, is_cpu=True)
    launch = Launch(model="m", plugin=False)
    assert args(launch)[-1] == "--enforce-eager"
    assert command.environment(launch, {}) == {"VLLM_CPU_KVCACHE_SPACE": "1"}
    assert command.environment(launch, {"VLLM_CPU_KVCACHE_SPACE": "4"}) == {"VLLM_CPU_KVCACHE_SPACE": "4"}


def test_a_cpu_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_build(monkeypatch, is_cpu=True, emulates=True)
    assert args(Launch(model="m"))[-2:] == ["--dtype", "float32"]
    assert args(Launch(model="m", args=["--dtype", "auto"]))[-2:] == ["--dtype", "auto"], "the user's wish wins"
    cpu_build(monkeypatch, is_cpu=False, emulates=True)
    assert "--dtype" not in args(Launch(model="m"))


@pytest.mark.parametrize(
    ("flags", "emulates"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16", False),
        ("flags : amx_bf16 amx_tile", False),
        ("Features : fp bf16 sve", False),
        ("flags : fpu avx avx2", True),
    ],
)
def test_the_processor_says_whether_it_has_bfloat16(tmp_path: Path, flags: str, emulates: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\nprocessor : 1\n{flags}\n")
    assert installed.emulates_bfloat16(tmp_path / "cpuinfo") is emulates
    assert not installed.emulates_bfloat16(tmp_path / "none")


def test_a_local_model_asks_no_hub(tmp_path: Path) -> None:
    assert command.environment(Launch(model=str(tmp_path)), {})["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in command.environment(Launch(model="org/name"), {})


def test_our_plugin_is_loaded_beside_those_that_load_anyway() -> None:
    chosen = {"VLLM_PLUGINS": "mine,other"}
    assert command.environment(Launch(model="m"), chosen)["VLLM_PLUGINS"] == "mine,other,agentserve"
    assert command.environment(Launch(model="m", plugin=False), chosen)["VLLM_PLUGINS"] == "mine,other"


def test_a_user_may_choose_the_order_of_the_engines_queue() -> None:
    assert command.known(Launch(model="m"), "n").priority
    assert not command.known(Launch(model="m", args=["--scheduling-policy=fcfs"]), "n").priority
    assert command.known(Launch(model="m", plugin=False, args=["--scheduling-policy", "priority"]), "n").priority
