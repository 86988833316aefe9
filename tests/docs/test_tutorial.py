"""The tutorial as a reader does it: its files are written, its commands run, in a folder of their own on a real engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT, blocks
from tests.engine_fixture import RealEngine, free_port
from tests.gateway.test_process import until_ready

PAGE = ROOT / "docs" / "tutorial.md"
ADDRESS = "127.0.0.1:8000"
IN_THE_CLONE = {"make setup", "source .venv/bin/activate"}
"""What the suite itself runs in."""


class Reader:
    """Somebody with a shell in a folder."""

    def __init__(self, folder: Path, listen: str) -> None:
        self.gateway: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._listen = listen
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
        }

    def write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text.replace(ADDRESS, self._listen))

    def types(self, command: str) -> str:
        """What a command prints. Those that ask a gateway are told where it is."""
        if command.startswith("agentserve serve"):
            self.gateway = subprocess.Popen(command.split(), cwd=self._folder, env=self._environment)
            until_ready(f"http://{self._listen}")
            return ""
        if command in {"agentserve programs --ended", "agentserve engines", "agentserve workflows"}:
            command += f" --url http://{self._listen}"
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, f"{command}\n{run.stdout[-1000:]}\n{run.stderr[-2000:]}"
        return run.stdout


@pytest.fixture
def reader(vllm_engine: RealEngine, tmp_path: Path) -> Iterator[Reader]:
    """One whose gateway listens elsewhere, and attaches to the suite's engine in place of launching its own."""
    reader = Reader(tmp_path, f"127.0.0.1:{free_port()}")
    (config,) = blocks("yaml", PAGE)
    written = yaml.safe_load(config.text)
    assert written["pools"][0]["model"] == vllm_engine.model
    written["pools"][0]["engines"] = [{"name": "local", "url": vllm_engine.url, "priority": True}]
    reader.write(config.title, yaml.safe_dump(written))
    yield reader
    if reader.gateway is not None:
        reader.gateway.terminate()
        reader.gateway.wait(60)


@pytest.mark.engine
def test_the_tutorial_works(reader: Reader, tmp_path: Path) -> None:
    for block in blocks("python", PAGE):
        reader.write(block.title, block.text)
    told = {command: reader.types(command) for block in blocks("console", PAGE) for command in typed(block.commands)}
    assert "of them cached" in told['python agent.py "mend the parser"']
    cached = int(told['python agent.py "mend the parser"'].split(",")[1].split()[0])
    assert cached > 200, "the history of the calls before"
    assert "local" in told["agentserve engines"]
    assert "plan" in told["agentserve workflows"]
    (simulated,) = (text for command, text in told.items() if command.startswith("agentserve simulate"))
    assert "agentserve" in simulated


def typed(commands: Iterator[str]) -> Iterator[str]:
    for command in commands:
        if command not in IN_THE_CLONE:
            yield command
