"""`agentserve simulate` as its user meets it: a table, files that are whole, and mistakes told in one message."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from agentserve.commands.simulate import simulate, usual_seeds
from agentserve.dashboard.recorded import Recording
from scheduler.log import replay
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
    options = zip(("--figures", "--html", "--chrome-trace"), files, strict=True)
    result = run(trace, "--engines", ENGINES, *(item for option in options for item in option))
    assert result.exit_code == 0, result.output
    content = json.loads(files[0].read_text())
    assert content["policies"] == ["vllm", "continuum", "agentserve"]
    assert "<svg" in files[1].read_text()
    assert json.loads(files[2].read_text())["traceEvents"]
    assert not list(tmp_path.glob("*.part"))


def test_the_event_log_of_a_simulation_replays_and_has_every_program(trace: Path, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    result = run(trace, "--engines", ENGINES, "--policy", "agentserve,vllm", "--event-log", log)
    assert result.exit_code == 0, result.output
    with log.open() as lines:
        replayed = replay(lines)
    assert (replayed.brain.policy.name, replayed.first_difference) == ("agentserve", None)
    with log.open() as lines:
        frames = [json.loads(event[6:]) for event in Recording(lines).events]
    assert len([program for frame in frames for program in frame.get("new", ())]) == 6
    assert frames[-1]["end"]


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
        (["--figures", "nowhere/out.json"], "nowhere is no folder"),
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


def interval_of(result: Result, figure: str) -> str:
    return next(line for line in result.output.splitlines() if figure in line)


def test_the_usual_command_has_several_seeds_and_says_how_many(trace: Path) -> None:
    result = run(trace, "--engines", ENGINES, "--rate", "0.5", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert "5 seeds from 1 on, each with its own arrivals, bytes a token" in result.output
    assert "means of 5 seeds, and paired 95 % intervals" in result.output
    assert "–" in interval_of(result, "completion, mean")


def test_a_trace_that_is_replayed_as_recorded_is_replayed_once(trace: Path) -> None:
    result = run(trace, "--engines", ENGINES)
    assert result.exit_code == 0, result.output
    assert "seed 1, as recorded; for intervals, --seeds 5" in result.output
    assert "one seed, no intervals" in result.output


@pytest.mark.parametrize(("calls", "policies", "seeds"), [(100, 3, 5), (24_000, 3, 5), (60_000, 3, 2), (10**6, 3, 1)])
def test_a_long_trace_has_fewer_seeds(calls: int, policies: int, seeds: int) -> None:
    assert usual_seeds(calls, policies) == seeds


@pytest.mark.parametrize(
    ("options", "drawn"),
    [([], "programs (each from all of the trace)"), (["--gaps", "redrawn"], "gaps"), (["--rate", "1"], "arrivals")],
)
def test_seeds_differ_in_more_than_bytes_a_token(trace: Path, tmp_path: Path, options: list[str], drawn: str) -> None:
    out = tmp_path / "out.json"
    result = run(trace, "--engines", ENGINES, "--policy", "vllm", "--seeds", "3", *options, "--figures", out)
    assert result.exit_code == 0, result.output
    assert f"each with its own {drawn}, bytes a token" in result.output
    simulations = json.loads(out.read_text())["simulations"]
    for simulation in simulations:
        assert all(program["alone"] for program in simulation["programs"]), "a program without a time alone"
    traffic = [
        sorted((program["program"], program["arrival"], program["alone"]) for program in simulation["programs"])
        for simulation in simulations
    ]
    assert traffic[0] != traffic[1] != traffic[2]


def test_what_was_left_out_is_told(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    lines = trace.read_text().splitlines()
    lines[2] = lines[2].replace('"arrival_s":', '"arrival_s":-')
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "notes.txt").write_text("hello")
    result = run(folder, "--engines", ENGINES, "--policy", "vllm", "--skip-damaged")
    told = result.output.replace("\n", "")
    assert result.exit_code == 0, told
    assert "1 damaged parts of" in told
    assert "a.jsonl:3: " in told
    assert "left out: " in told
    assert "notes.txt" in told


def test_a_file_holds_what_it_takes_to_make_it_again(trace: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("policy:\n  retention:\n    fixed_ttl:\n      ttl: 5.0\n")
    out = tmp_path / "out.json"
    options = ["--engines", ENGINES, "--policy", f"vllm,{mine}", "--rate", "2.0", "--gaps", "redrawn", "--no-alone"]
    assert run(trace, *options, "--figures", out).exit_code == 0
    about = json.loads(out.read_text())["about"]
    words = shlex.split(about["command"])
    assert words[:3] == ["agentserve", "simulate", str(trace)]
    assert set(options) < set(words)
    assert (about["trace"], about["rate"], about["gaps"]) == (str(trace), 2.0, "redrawn")
    assert about["parameters"]["mine"]["retention"] == {"fixed_ttl": {"ttl": 5.0}}
    assert [engine["modelled"] for engine in about["fleet"]] == [False, False]


def test_engines_that_nobody_measured_are_marked(trace: Path, tmp_path: Path) -> None:
    files = tmp_path / "out.json", tmp_path / "out.html"
    result = run(
        *(trace, "--engines", "1xL40S:kv8192:len4096", "--model", "llama-3.1-8b", "--policy", "vllm"),
        *("--figures", files[0], "--html", files[1]),
    )
    assert result.exit_code == 0, result.output
    assert "modelled from data sheets, not measured: L40S:kv8192:len4096" in result.output
    (engine,) = json.loads(files[0].read_text())["simulations"][0]["engines"]
    assert engine["modelled"]
    assert "modelled from data sheets, not measured" in files[1].read_text()


def test_files_that_cannot_be_written_are_told_before_any_work(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("{}")
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == kept and mode & os.W_OK))
    for path, reason in (
        (kept, "may not be changed"),
        (tmp_path, "what is there is no file"),
        (kept / "x.json", "is no folder"),
    ):
        result = run(tmp_path / "no trace at all", "--engines", ENGINES, "--figures", path)
        assert result.exit_code == 2
        assert reason in result.output.replace("\n", "")


def test_programs_may_be_generated_by_name() -> None:
    options = (
        "--engines",
        "hexgen",
        "--policy",
        "vllm",
        "--programs",
        "4",
        "--rate",
        "0.05",
        "--seeds",
        "2",
        "--no-alone",
    )
    plain, shared = (run(name, *options) for name in ("text2sql_uniform", "text2sql_uniform:template50"))
    assert plain.exit_code == shared.exit_code == 0, plain.output + shared.output
    assert "4 programs of" in plain.output
    assert plain.output.splitlines()[0] == shared.output.splitlines()[0], "templates change no lengths"
    assert plain.output != shared.output


@pytest.mark.parametrize("name", ["small:template50", "text2sql_natural:templates", "text2sql_natural:template101"])
def test_an_option_of_generated_programs_that_cannot_be_is_told(name: str) -> None:
    result = run(name, "--engines", "hexgen")
    assert result.exit_code == 2
    assert "percent" in result.output or "from 0 to 1" in result.output


def test_a_file_goes_before_generated_programs_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    trace.rename(tmp_path / "small")
    result = run("small", "--engines", ENGINES, "--policy", "vllm")
    assert "6 programs of" in result.output
