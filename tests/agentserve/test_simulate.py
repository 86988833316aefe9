"""`agentserve simulate` as its user meets it: a table, files that are whole, and mistakes told in one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from agentserve.commands.simulate import simulate
from tests.simulator.worlds import small
from workloads.jsonl import write_programs

ENGINES = "2xcpu-smollm2:kv8192:len4096"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "programs.jsonl"
    write_programs(path, small(6))
    return path


def run(*arguments: str | Path) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(simulate)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def test_it_prints_a_table_with_intervals(trace: Path) -> None:
    result = run(trace, "--engines", ENGINES, "--policy", "vllm,agentserve", "--rate", "1", "--seeds", "3")
    assert result.exit_code == 0, result.output
    assert "6 programs of" in result.output
    row = next(line for line in result.output.splitlines() if "completion, mean" in line)
    assert "×" in row
    assert "–" in row, "no interval"
    assert "calls simulated in" in result.output


def test_it_writes_figures_a_page_and_a_trace(trace: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("out.json", "out.html", "out.trace.json")]
    options = zip(("--json", "--html", "--chrome-trace"), files, strict=True)
    result = run(trace, "--engines", ENGINES, *(item for option in options for item in option))
    assert result.exit_code == 0, result.output
    content = json.loads(files[0].read_text())
    assert content["policies"] == ["vllm", "continuum", "agentserve"]
    assert "<svg" in files[1].read_text()
    assert json.loads(files[2].read_text())["traceEvents"]
    assert not list(tmp_path.glob("*.part"))


def test_a_policy_may_be_a_file(trace: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("policy:\n  retention:\n    fixed_ttl:\n      ttl: 5.0\n")
    result = run(trace, "--engines", ENGINES, "--policy", f"vllm,{mine}")
    assert result.exit_code == 0, result.output
    assert "mine" in result.output


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--policy", "vlm"], "did you mean 'vllm'"),
        (["--policy", "vllm,vllm"], "'vllm' is there twice"),
        (["--engines", "2xB1000"], "B1000"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--json", "nowhere/out.json"], "nowhere is no folder"),
        (["--context", "100000"], "takes no more than 4,096"),
    ],
)
def test_mistakes_end_it_with_code_2_and_one_message(trace: Path, options: list[str], what: str) -> None:
    longer = trace.with_name("longer.jsonl")
    text = trace.read_text()
    longer.write_text(text.replace('"new_tokens":', '"new_tokens":9', 1))
    result = run(longer, *(() if "--engines" in options else ("--engines", ENGINES)), *options)
    assert result.exit_code == 2
    assert what in result.output
    assert result.output.count("error:") == 1
    assert {file.name for file in trace.parent.iterdir()} == {"programs.jsonl", "longer.jsonl"}


def test_a_damaged_trace_is_told_by_file_and_line(trace: Path) -> None:
    lines = trace.read_text().splitlines()
    lines[2] = lines[2].replace('"arrival_s":', '"arrival_s":-')
    trace.write_text("\n".join(lines))
    result = run(trace, "--engines", ENGINES)
    assert result.exit_code == 2
    assert "programs.jsonl:3" in result.output.replace("\n", "")
    assert "arrival_s" in result.output


def test_a_policy_file_that_is_wrong_is_named(trace: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("order: nonsense\n")
    result = run(trace, "--engines", ENGINES, "--policy", str(mine))
    assert result.exit_code == 2
    assert "nonsense" in result.output
