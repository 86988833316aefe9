"""What every command promises: a document for machines, an exit code that tells, and completion in the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner, Result

from agentserve.cli import app
from scheduler.brain import Brain
from scheduler.events import EngineUp
from scheduler.log import event_line, snapshot_line
from scheduler.policy import PRESETS
from scheduler.types import EngineId, EngineSpec

DOCS = Path(__file__).parent.parent / "docs" / "cli.md"
WITHOUT_JSON = {"serve": "it prints nothing but its log, which `log: {format: json}` makes JSON"}
SPEC = EngineSpec(models=("m",), kv_tokens=8192, block_size=32, max_model_len=4096)


def commands() -> Iterator[tuple[str, TyperCommand]]:
    """Every command by the words that call it."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    yield from within(group, "")


def within(group: TyperGroup, words: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from within(command, f"{words}{name} ")
        else:
            assert isinstance(command, TyperCommand)
            yield f"{words}{name}", command


ALL = dict(commands())


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_a_document_for_machines_or_a_reason_to_have_none(name: str) -> None:
    (*flags,) = (each for each in ALL[name].params if "--json" in each.opts)
    if name in WITHOUT_JSON:
        assert not flags, f"{name} has --json, and is listed as having none"
        return
    assert flags, f"{name} prints something for people, and has no --json"
    assert flags[0].is_flag, f"{name} --json takes a value; it is to print one document"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ALL)
def test_every_document_is_told_of(name: str) -> None:
    assert f"`{name}`" in DOCS.read_text(), f"docs/cli.md has no row for {name}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, an event log and a key file, in which commands are called."""
    monkeypatch.chdir(tmp_path)
    engines = [{"name": "a", "emulated": {}}]
    pools = [{"model": "m", "engines": engines}]
    (tmp_path / "good.yaml").write_text(yaml.safe_dump({"pools": pools, "listen": "127.0.0.1:0"}))
    (tmp_path / "bad.yaml").write_text("polcy: vllm\n")
    brain = Brain(PRESETS["agentserve"])
    up = EngineUp(0.0, EngineId("a"), SPEC)
    log = f"{snapshot_line(brain)}\n{event_line(up, brain.handle(up).actions)}\n"
    (tmp_path / "same.jsonl").write_text(log)
    (tmp_path / "other.jsonl").write_text(log.replace('"actions":""', '"actions":"0123456789abcdef"'))
    return tmp_path


SIMULATED = ("text2sql_natural", "--engines", "1xcpu-smollm2:kv8192:len4096", "--programs", 2, "--policy", "vllm")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("check-config", "good.yaml"), {"policy", "listen", "engines"}),
        (("policies",), {"presets", "policies"}),
        (("doctor", "--config", "good.yaml"), {"checks"}),
        (("replay-log", "same.jsonl"), {"events", "actions", "first_difference"}),
        (("keys", "create", "research"), {"id", "tenant", "role", "created", "expires", "key"}),
        (("keys", "list", "--file", "keys.json"), {"keys"}),
        (("simulate", *SIMULATED), {"format", "about", "policies", "seeds", "figures", "simulations"}),
        (
            ("demo", "--emulated", "--programs", 2, "--rate", 100),
            {"programs", "rate", "seed", "emulated", "sides", "page"},
        ),
    ],
    ids=lambda value: " ".join(map(str, value[:2])) if isinstance(value, tuple) else "",
)
def test_the_document_is_all_that_is_printed(here: Path, words: tuple[object, ...], names: set[str]) -> None:
    if words[:2] == ("keys", "list"):
        run("keys", "create", "research")
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)) == names


def test_a_key_is_rotated_and_revoked_for_machines(here: Path) -> None:
    made = json.loads(run("keys", "create", "research", "--json").stdout)
    rotated = json.loads(run("keys", "rotate", made["id"], "--json").stdout)
    assert rotated["key"] != made["key"]
    assert json.loads(run("keys", "revoke", rotated["id"], "--json").stdout)["revoked"]["id"] == rotated["id"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ("doctor", "--config", "good.yaml")),
        (1, ("doctor", "--config", "bad.yaml")),
        (0, ("replay-log", "same.jsonl")),
        (1, ("replay-log", "other.jsonl")),
        (2, ("replay-log", "none.jsonl")),
        (2, ("check-config", "bad.yaml")),
        (2, ("simulate", "none.jsonl", "--engines", "1xA100", "--model", "llama-3.1-8b")),
        (2, ("programs", "--url", "http://127.0.0.1:9")),
        (2, ("top", "--once", "--url", "http://127.0.0.1:9")),
        (2, ("no-such-command",)),
        (2, ("policies", "--no-such-option")),
    ],
    ids=str,
)
@pytest.mark.parametrize("for_machines", [False, True], ids=["people", "machines"])
def test_the_exit_code_is_the_one_that_is_documented(
    here: Path, code: int, words: tuple[str, ...], *, for_machines: bool
) -> None:
    result = run(*words, *(("--json",) if for_machines else ()))
    assert result.exit_code == code, result.output
    if code == 2:
        assert result.stdout == "", "a mistake is told on standard error"
        assert result.stderr


def completed(shell: str, line: str) -> list[str]:
    """What a shell is offered behind a line."""
    position = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    asked = {"_AGENTSERVE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, **position}
    return under_its_name(asked).split()


def under_its_name(asked: dict[str, str]) -> str:
    """What `agentserve` prints with these variables, in a process of its own."""
    command = [sys.executable, "-P", "-c", "from agentserve.cli import app; app(prog_name='agentserve')"]
    environment = {**os.environ, **asked}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False).stdout


def test_a_shell_completes_commands_and_options() -> None:
    assert set(completed("bash", "agentserve s")) == {name for name in ALL if name.startswith("s")}
    assert completed("bash", "agentserve validate --to") == ["--tolerance"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_is_there_to_be_installed(shell: str) -> None:
    assert f"_AGENTSERVE_COMPLETE=complete_{shell}" in under_its_name({"_AGENTSERVE_COMPLETE": f"source_{shell}"})
