"""What README and docs/ tell readers to type works: Python runs, configurations are read, commands and options exist."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from agentserve.cli import app
from agentserve.cluster.section import parse_cluster
from agentserve.config import parse
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.engine_fixture import free_port
from tests.gateway.test_process import until_ready

MODEL = "smollm2"
ADDRESS = "127.0.0.1:8000"
POOL = {"model": MODEL, "engines": [{"name": "e", "emulated": {"speed": 100.0}}]}
REASONER = {"model": "reasoner", "kind": "best_of_n", "draft": MODEL, "samples": 8, "turns": 1, "segment_tokens": 16}
OTHERS = {"cd", "claude", "curl", "export", "for", "git", "kill", "pip", "source", "wait"}
"""Programs that are not ours."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a gateway in front of an emulated engine."""
    folder = tmp_path_factory.mktemp("docs")
    listen = f"127.0.0.1:{free_port()}"
    config = {"listen": listen, "pools": [POOL], "virtual": [REASONER]}
    (folder / "agentserve.yaml").write_text(json.dumps(config))
    command = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(folder / "agentserve.yaml")]
    process = subprocess.Popen(command)
    try:
        until_ready(f"http://{listen}")
        yield listen
    finally:
        process.terminate()
        process.wait(40)


@pytest.fixture(scope="module")
def clients_python() -> Path:
    """The interpreter of the environment that agents' frameworks live in."""
    subprocess.run([ROOT / "scripts" / "clients.sh"], check=True)
    return ROOT / ".venv-clients" / "bin" / "python"


LANGUAGE = re.compile(r"^```(\w+)", re.MULTILINE)
PRELUDE = f"from openai import OpenAI\nclient = OpenAI(base_url='http://{ADDRESS}/v1', api_key='none')\n"
"""What pages that show a single request take for granted."""


@pytest.mark.parametrize("block", [block for block in blocks("python") if not block.title], ids=str)
def test_python_runs(block: Block, address: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    python = request.getfixturevalue("clients_python") if "langchain" in block.text else sys.executable
    script = tmp_path / "block.py"
    script.write_text((PRELUDE + block.text).replace(ADDRESS, address))
    run = subprocess.run([python, script], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_configurations_are_read(block: Block) -> None:
    written = yaml.safe_load(block.text)
    if "address" in written:
        parse_cluster(written, str(block))
        return
    needed = {"pools": [{"model": MODEL, "engines": [{"url": "http://127.0.0.1:8101"}]}]} | (
        {"state": "state.json"} if "tenants" in written else {}
    )
    parse(needed | written)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_an_agents_configuration_names_the_gateway_where_the_pages_put_it(block: Block) -> None:
    written = tomllib.loads(block.text)
    provider = written["model_providers"][written["model_provider"]]
    assert (provider["base_url"], written["model"]) == (f"http://{ADDRESS}/v1", MODEL)


def test_every_block_is_tested_or_says_nothing_that_could_be_wrong() -> None:
    """Blocks in a language that no test knows are mistakes in waiting."""
    known = {"python", "yaml", "toml", "console", "text"}
    for page in PAGES:
        assert set(LANGUAGE.findall(page.read_text())) <= known, page.name


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_commands_and_their_options_exist(block: Block) -> None:
    for command in block.commands:
        for part in re.split(r"[|;&]+|\bdo\b|\bdone\b", command):
            check(shlex.split(part))


def check(words: list[str]) -> None:
    """Whether somebody who types this finds the program, and the program its options."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    match words:
        case ["agentserve", *rest]:
            check_ours(rest)
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            for target in targets:
                assert "=" in target or re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        case ["python", *rest] if "-m" in rest:
            module = rest[rest.index("-m") + 1]
            assert module.startswith("vllm.") or importlib.util.find_spec(module), module
        case [("python" | ".venv/bin/agentserve"), script, *_]:
            assert (
                script in {block.title for block in blocks("python")} or (ROOT / script).exists() or script == "--help"
            )
        case [program, *_]:
            assert program in OTHERS, f"what is {program}?"


def check_ours(words: list[str]) -> None:
    """Parses them as the command line would, without doing anything."""
    group = cast("TyperGroup", typer.main.get_command(app))
    if words[0].startswith("-"):
        group.make_context("agentserve", words, resilient_parsing=True)
        return
    command = group.commands[words[0]]
    if isinstance(command, TyperGroup):
        command, words = command.commands[words[1]], words[1:]
    cast("TyperCommand", command).make_context(words[0], words[1:], resilient_parsing=True)


def test_the_reference_follows_from_the_code() -> None:
    pages = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["PAGES"]
    for name, text in pages.items():
        assert (ROOT / "docs" / name).read_text() == text(), f"run: python scripts/reference.py, for docs/{name}"


def test_every_page_is_in_the_site(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/-]+\.md", json.dumps(settings["nav"])))
    assert {page.name for page in PAGES[1:]} <= named
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.json*"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    build = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stdout[-3000:] + build.stderr[-1000:]
    home = (tmp_path / settings["site_dir"] / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://(?!zensical)[^"]+"[^>]*(?:stylesheet|script)', home)
