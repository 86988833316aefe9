"""`agentserve validate` as its user meets it: tables, an exit code that tells, and mistakes told in one message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from agentserve.commands import validate as command
from agentserve.commands.validate import Task, validate
from agentserve.validation.outcome import Outcome
from agentserve.validation.trial import Trial
from tests.validation.sides import USUAL, slower
from workloads.jsonl import write_programs
from workloads.program import Call, Edge, Program

EMULATED = {"kv_tokens": 2048, "block_size": 32, "max_model_len": 1024}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "programs.jsonl"
    calls = (Call("0", 200, 4), Call("1", 60, 4, (Edge("0", 0.2, "bash"),), "0"))
    write_programs(path, [Program(f"p{number}", 0.1 * number, calls) for number in range(2)])
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "agentserve.yaml", {"emulated": EMULATED})


def write_config(path: Path, engine: dict[str, object], **settings: object) -> Path:
    path.write_text(yaml.safe_dump({"pools": [{"model": "m", "engines": [engine]}], **settings}))
    return path


def run(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(validate)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def test_both_sides_replay_the_trace_under_each_policy(tmp_path: Path, trace: Path) -> None:
    state = tmp_path / "state.json"
    kept = {"state": str(state), "record": str(tmp_path / "calls.jsonl"), "tune": {"every": "1h"}}
    config = write_config(tmp_path / "agentserve.yaml", {"emulated": EMULATED}, **kept)
    out = tmp_path / "out.json"
    result = run(
        *("--trace", trace, "--config", config, "--policy", "vllm,agentserve"),
        *("--repetitions", "2", "--tolerance", "1", "--figures", out),
    )
    assert result.exit_code in (0, 1), result.output
    assert "vllm, 2 repetitions" in result.output
    assert "agentserve, 2 repetitions" in result.output
    assert "the order of policies" in result.output
    trials = json.loads(out.read_text())["trials"]
    assert [trial["policy"] for trial in trials] == ["vllm", "agentserve"]
    for trial in trials:
        assert len(trial["real"]) == len(trial["simulated"]) == 2
        for real, simulated in zip(trial["real"], trial["simulated"], strict=True):
            assert real["mean_completion"] > simulated["mean_completion"], "clients and sockets take time too"
            assert real["cached_share"] == pytest.approx(simulated["cached_share"], abs=0.05)
    assert not state.exists(), "what the owner of the configuration keeps is left alone"
    assert not (tmp_path / "calls.jsonl").exists()
    assert "4 replays of 2 programs" in result.output
    assert json.loads(out.read_text())["command"].startswith("agentserve validate --trace ")


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.04, 0), (1.1, 1)])
def test_the_exit_code_tells_whether_every_bound_is_kept(
    monkeypatch: pytest.MonkeyPatch, trace: Path, config: Path, factor: float, code: int
) -> None:
    result = with_outcomes(monkeypatch, [slower(factor)] * 3, "--trace", trace, "--config", config)
    assert result.exit_code == code, result.output
    assert ("OUTSIDE" in result.output) is bool(code)


def test_a_tolerance_may_be_wider(monkeypatch: pytest.MonkeyPatch, trace: Path, config: Path) -> None:
    simulated = [slower(1.1)] * 3
    assert (
        with_outcomes(monkeypatch, simulated, "--trace", trace, "--config", config, "--tolerance", "0.1").exit_code == 0
    )


def with_outcomes(monkeypatch: pytest.MonkeyPatch, simulated: Sequence[Outcome], *arguments: str | Path) -> Result:
    """Runs the command where engines and simulator have spoken already."""

    async def spoken(task: Task) -> list[Trial]:
        real = tuple(replace(USUAL) for _ in simulated)
        return [Trial(policy.name, real, tuple(simulated)) for policy in task.policies]

    monkeypatch.setattr(command, "run", spoken)
    return run(*arguments)


def test_mistakes_are_told_before_anything_is_started(tmp_path: Path, trace: Path, config: Path) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text(trace.read_text().replace('"arrival_s":0.1', '"arrival_s":-1'))
    long = tmp_path / "profile.json"
    long.write_text("{}")
    speedy = write_config(tmp_path / "speedy.yaml", {"emulated": {"speed": 10.0}})
    real = write_config(tmp_path / "real.yaml", {"url": "http://nowhere"})
    broken = tmp_path / "broken.yaml"
    broken.write_text("pools: []\n")
    for arguments, message in (
        (("--trace", damaged, "--config", config), "arrival_s"),
        (("--trace", tmp_path / "none.jsonl", "--config", config), "none.jsonl"),
        (("--trace", trace, "--config", broken), "pools"),
        (("--trace", trace, "--config", tmp_path / "none.yaml"), "none.yaml"),
        (("--trace", trace, "--config", speedy), "emulated at 10 times"),
        (("--trace", trace, "--config", real), "engine-0 has no step profile"),
        (("--trace", trace, "--config", config, "--policy", "vlm"), "did you mean 'vllm'"),
        (("--trace", trace, "--config", config, "--profile", long), "profile.json"),
        (("--trace", trace, "--config", config, "--rate", "0"), "--rate must be above 0"),
        (("--trace", trace, "--config", config, "--figures", tmp_path / "no" / "out.json"), "is no folder"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert message in result.output.replace("\n", "")
        assert "Traceback" not in result.output
