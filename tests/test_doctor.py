from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from agentserve.cli import app
from agentserve.config import parse
from agentserve.doctor.check import Level
from agentserve.doctor.configured import configured
from agentserve.doctor.engine import demo, engine, plugin, version
from agentserve.doctor.machine import GIB, available, files, machine, processor, python
from agentserve.engines import installed
from tests.gateway.world import world


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, args)], env={"COLUMNS": "200"}, catch_exceptions=False)


def write(folder: Path, **settings: object) -> Path:
    path = folder / "agentserve.yaml"
    engines = [{"name": "a", "emulated": {}}]
    path.write_text(
        yaml.safe_dump({"pools": [{"model": "m", "engines": engines}], "listen": "127.0.0.1:0", **settings})
    )
    return path


def levels(folder: Path, **settings: object) -> dict[str, Level]:
    path = write(folder, **settings)
    return {check.name: check.level for check in configured(path, parse(yaml.safe_load(path.read_text())))}


def test_what_is_wrong_with_the_machine_is_told_with_what_to_do() -> None:
    assert python((3, 10, 9)).level is Level.PROBLEM
    assert python((3, 12, 0)).level is Level.OK
    assert processor({"avx2", "avx512f", "avx512_bf16"}).level is Level.OK
    assert "bfloat16" in processor({"avx2"}).found
    assert "AVX2" in processor({"sse2"}).fix
    assert available(2 * GIB).level is Level.WARNING
    assert available(64 * GIB).level is Level.OK
    assert "ulimit -n" in files(1024).fix


def test_a_system_that_does_not_tell_is_not_judged(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert [check.name for check in machine(none, none)] == ["python", "files"]


@pytest.mark.parametrize(
    ("text", "level"),
    [("0.26.0", "ok"), ("0.33.1+cpu", "ok"), ("0.25.9", "warning"), ("0.34.0", "warning"), (None, "warning")],
)
def test_a_version_of_vllm_is_known_or_not(text: str | None, level: str) -> None:
    assert version(text).level == level


def test_a_plugin_that_vllm_does_not_know_is_a_problem() -> None:
    assert plugin(["agentserve"]).level is Level.OK
    assert plugin(["other"]).level is Level.PROBLEM


def test_vllm_is_missed_only_where_engines_are_launched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installed, "has_vllm", lambda: False)
    for launches, level in ((True, Level.PROBLEM), (False, Level.WARNING)):
        assert next(iter(engine(launches=launches, model=tmp_path))).level is level
    assert demo(tmp_path).level is Level.WARNING


def test_a_good_configuration_is_good(tmp_path: Path) -> None:
    assert set(levels(tmp_path, record=str(tmp_path / "traffic.jsonl")).values()) == {Level.OK}


def test_a_port_that_somebody_else_has_is_a_problem(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert levels(tmp_path, listen=listen)["port"] is Level.PROBLEM


async def test_a_port_that_a_gateway_has_is_none(tmp_path: Path) -> None:

    async with world() as w:
        found = await asyncio.to_thread(levels, tmp_path, listen=w.url.removeprefix("http://"))
        assert found["port"] is Level.OK


def test_an_engine_that_does_not_answer_and_a_model_that_is_not_there_are_problems(tmp_path: Path) -> None:
    engines = [
        {"name": "off", "url": "http://127.0.0.1:9"},
        {"name": "none", "launch": {"model": str(tmp_path / "none")}},
        {"name": "hub", "launch": {"model": "org/name"}},
    ]
    found = levels(tmp_path, pools=[{"model": "m", "engines": engines}])
    assert [found[f"engine {name}"] for name in ("off", "none", "hub")] == [Level.PROBLEM, Level.PROBLEM, Level.OK]


def test_files_that_cannot_be_used_are_problems(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{]")
    found = levels(tmp_path, keys=str(tmp_path / "none.json"), state=str(tmp_path / "state.json"))
    assert (found["keys"], found["state"]) == (Level.PROBLEM, Level.PROBLEM)


def test_a_problem_ends_the_command_with_code_1_and_says_what_to_do(tmp_path: Path) -> None:
    file = write(tmp_path, polcy="vllm")
    shown = run("--config", file)
    assert shown.exit_code == 1
    assert "polcy" in shown.stdout
    assert "to fix: mend it" in shown.stdout
    told = json.loads(run("--config", file, "--json").stdout)["checks"]
    assert [each["level"] for each in told if each["name"] == "configuration"] == ["problem"]


def test_an_installation_that_works_ends_with_code_0(tmp_path: Path) -> None:
    assert run("--config", write(tmp_path)).exit_code == 0
