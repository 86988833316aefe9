"""Agent projects often have their own `tools.py` or `scheduler/` beside the script: ours must not trip over them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGENTSERVE = str(Path(sys.executable).with_name("agentserve"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose modules have the names of our rooms, and fail when they are imported."""
    bomb = "raise ImportError('imported from the project')\n"
    (tmp_path / "tools.py").write_text(bomb)
    (tmp_path / "workloads.py").write_text(bomb)
    for room in ("scheduler", "simulator"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(bomb)
    return tmp_path


def run(project: Path, *command: str) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    outcome = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def test_the_traps_are_armed(project: Path) -> None:
    with pytest.raises(AssertionError, match="imported from the project"):
        run(project, sys.executable, "-c", "import scheduler.policy")


def test_the_sdk_is_imported_without_any_other_room(project: Path) -> None:
    rooms = "{'scheduler', 'tools', 'simulator', 'workloads', 'fastapi', 'typer', 'yaml'}"
    check = f"import sys; from agentserve import Client, Graph; print(sorted({rooms} & set(sys.modules)))"
    assert run(project, sys.executable, "-c", check) == "[]\n"


def test_the_package_alone_imports_nothing(project: Path) -> None:
    check = "import sys, agentserve; print('httpx' in sys.modules, 'asyncio' in sys.modules)"
    assert run(project, sys.executable, "-c", check) == "False False\n"


def test_the_command_starts(project: Path) -> None:
    assert run(project, AGENTSERVE, "--version").startswith("agentserve ")
    assert "agentserve" in run(project, AGENTSERVE, "policies")


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_the_module_starts(project: Path, flags: list[str]) -> None:
    assert "program_fcfs" in run(project, sys.executable, *flags, "-m", "agentserve", "policies")


def test_the_gateway_is_imported(project: Path) -> None:
    check = "import agentserve.cli, agentserve.gateway.server; print('fine')"
    assert run(project, sys.executable, "-P", "-c", check) == "fine\n"


def test_the_plugin_is_imported_as_an_engine_does(project: Path) -> None:
    assert run(project, sys.executable, "-P", "-c", "import agentserve.vllm_plugin; print('fine')") == "fine\n"
