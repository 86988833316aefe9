"""`agentserve tune` as its user meets it: a table, a policy file that the gateway loads, mistakes in one message."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from agentserve.commands import tune as command
from agentserve.config import ConfigError, parse
from agentserve.policyfile import read_policy, write_policy
from scheduler.policy import PRESETS, Choice, PolicyConfig, PolicyError
from tests.simulator.worlds import small
from workloads.jsonl import write_programs

ENGINES = "1xcpu-smollm2:kv8192:len4096"
POOLS = [{"model": "m", "engines": [{"url": "http://127.0.0.1:1"}]}]
POOR = "retention: {fixed_ttl: {ttl: 1.0}}\nadmission: {working_set: {limit: 0.6, growth: 1.5}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_programs(tmp_path / "programs.jsonl", small(12, rate=0.6))
    return tmp_path


def run(folder: Path, *arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.tune)
    given = [str(argument) for argument in arguments]
    fixed = [str(folder / "programs.jsonl"), "--out", str(folder / "policy.yaml")]
    jobs = [] if {"--ray", "--jobs"} & set(given) else ["--jobs", "1"]
    engines = [] if "--engines" in given else ["--engines", ENGINES]
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [*fixed, *engines, *jobs, *given])


def test_a_poor_policy_is_improved_and_the_gateway_loads_the_file(folder: Path) -> None:
    poor = folder / "poor.yaml"
    poor.write_text(POOR)
    result = run(folder, "--policy", poor, "--budget", "10", "--seeds", "3", "--figures", folder / "all.json")
    assert result.exit_code == 0, result.output
    assert "admission.working_set.limit" in result.output
    assert "The best setting against 'poor': mean completion lower by" in result.output
    assert "6 fresh seeds" in result.output

    content = json.loads((folder / "all.json").read_text())
    assert content["improved"]
    assert len(content["trials"]) == 10
    policy = parse({"pools": POOLS, "policy": str(folder / "policy.yaml")}).policy
    assert policy.name == "policy"
    found = {**dict(policy.order.params), **dict(policy.admission.params), **dict(policy.retention.params)}
    assert {name.rpartition(".")[2]: value for name, value in content["values"].items()} == found
    assert (policy.order.name, policy.placement) == ("expected_remaining", Choice("least_delay"))
    command, *_ = (folder / "policy.yaml").read_text().splitlines()
    words = shlex.split(command.removeprefix("# "))
    assert words[:3] == ["agentserve", "tune", str(folder / "programs.jsonl")]
    options = ("--engines", ENGINES), ("--policy", str(poor)), ("--budget", "10"), ("--seeds", "3"), ("--jobs", "1")
    assert set(options) < set(pairwise(words))
    assert content["command"] == command.removeprefix("# ")


def test_without_a_gain_for_certain_the_policy_is_written_as_it_was(folder: Path) -> None:
    result = run(folder, "--budget", "2", "--seeds", "2", "--objective", "slo@100000")
    assert result.exit_code == 0, result.output
    assert "No setting was better than 'agentserve' as it is." in result.output
    assert read_policy(folder / "policy.yaml") == replace(PRESETS["agentserve"], name="policy")
    assert "# This is the policy 'agentserve' as it was." in (folder / "policy.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--objective", "median"], "an objective is mean_completion, p95, attainment"),
        (["--policy", "agentsrve"], "did you mean 'agentserve'"),
        (["--policy", "vllm"], "'vllm' has no parameter to search"),
        (["--policy", "vllm,agentserve"], "the one policy to improve"),
        (["--engines", "2xB1000"], "B1000"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--figures", "nowhere/out.json"], "nowhere is no folder"),
        (["--context", "100000"], "takes no more than 4,096"),
    ],
)
def test_mistakes_end_it_with_code_2_and_one_message(folder: Path, options: list[str], what: str) -> None:
    trace = folder / "programs.jsonl"
    trace.write_text(trace.read_text().replace('"new_tokens":', '"new_tokens":9', 1))
    result = run(folder, *options)
    assert result.exit_code == 2
    assert what in result.output
    assert result.output.count("error:") == 1
    assert [file.name for file in folder.iterdir()] == ["programs.jsonl"]


def test_without_ray_or_optuna_it_says_how_to_install_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run(folder, "--ray", "auto")
    assert (result.exit_code, "agentserve[ray]" in result.output) == (2, True)
    monkeypatch.setattr(command, "has_optuna", lambda: False)
    result = run(folder)
    assert (result.exit_code, "agentserve[tune]" in result.output) == (2, True)


def test_a_policy_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    policy = PolicyConfig("mine", retention=Choice("fixed_ttl", (("ttl", 7.5),)))
    write_policy(tmp_path / "mine.yaml", policy, ["found", "somehow"])
    assert read_policy(tmp_path / "mine.yaml") == policy
    assert (tmp_path / "mine.yaml").read_text().startswith("# found\n# somehow\npolicy:\n")


def test_a_policy_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(PolicyError, match=r"mine\.yaml cannot be read: No such file"):
        read_policy(path)
    path.write_text("order: nonsense: 3")
    with pytest.raises(PolicyError, match=r"mine\.yaml cannot be read"):
        read_policy(path)
    path.write_text("ordre: fcfs")
    with pytest.raises(PolicyError, match=r"mine\.yaml: unknown policy kind 'ordre'; did you mean 'order'"):
        read_policy(path)
    with pytest.raises(ConfigError, match=r"policy: .*mine\.yaml: unknown policy kind"):
        parse({"pools": POOLS, "policy": str(path)})


def test_a_file_that_no_configuration_could_name_is_refused_before_any_work(folder: Path) -> None:
    result = run(folder, "--out", folder / "policy.json")
    assert result.exit_code == 2
    assert "--out must end with .yaml or .yml" in result.output
    assert [file.name for file in folder.iterdir()] == ["programs.jsonl"]


def test_jobs_of_this_machine_and_a_cluster_are_refused_together(folder: Path) -> None:
    result = run(folder, "--ray", "auto", "--jobs", "2")
    assert result.exit_code == 2
    assert "--jobs are processes of this machine" in result.output
