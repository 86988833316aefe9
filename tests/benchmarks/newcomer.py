"""A newcomer's path: from `git clone` to the first own agent behind the gateway, as the tutorial says, each step timed.

    python -m tests.benchmarks.newcomer [--source URL] [--json FILE] [--markdown FILE]

The folder is new, the home is new and empty, and of the environment only PATH and what package registries need is left; the
tutorial's blocks are what is typed. It downloads what `make setup` downloads, and starts a real engine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.docs.blocks import ROOT, Block, blocks
from tests.engine_fixture import free_port

PAGE = ROOT / "docs" / "tutorial.md"
ADDRESS = "127.0.0.1:8000"
REGISTRIES = (
    "PIP_",
    "UV_",
    "SSL_CERT_",
    "REQUESTS_CA_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""What says where packages come from; a machine that needs none of it has none."""
LONGEST = 1800.0
"""Seconds that a step may take."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was typed, and how long it took."""

    typed: str
    seconds: float


@dataclass(slots=True)
class Newcomer:
    """Somebody with a new account, in a folder of their own."""

    folder: Path
    listen: str
    steps: list[Step] = field(default_factory=list)

    @property
    def clone(self) -> Path:
        return self.folder / "agentserve"

    @property
    def environment(self) -> dict[str, str]:
        """After `source .venv/bin/activate`, once there is one."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if name.startswith(REGISTRIES)}
        folders = (str(self.clone / ".venv/bin"), f"{sys.base_prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin")
        return {**kept, "HOME": str(home), "PATH": os.pathsep.join(folders), "LANG": "C.UTF-8", "COLUMNS": "200"}

    def types(self, command: str, where: Path) -> str:
        """What it prints. Ends everything if it fails."""
        began = time.monotonic()
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=where,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if run.returncode:
            sys.exit(f"{command} ended with code {run.returncode}\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}")
        self.has_done(command, began)
        return run.stdout

    def has_done(self, typed: str, began: float) -> None:
        """Notes a step that has just ended."""
        self.steps.append(Step(typed, time.monotonic() - began))
        print(f"{self.steps[-1].seconds:8.1f} s  {typed}", file=sys.stderr)  # noqa: T201

    def writes(self, block: Block) -> None:
        """A file of the tutorial; what it names as the gateway's address is free here."""
        (self.clone / block.title).write_text(block.text.replace(ADDRESS, self.listen))

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """A gateway in a terminal of its own, until it has been of use."""
        began = time.monotonic()
        process = subprocess.Popen(
            shlex.split(command), cwd=self.clone, env=self.environment, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            said = []
            for line in process.stderr:
                said.append(line)
                if "engine local is up" in line:
                    break
            else:
                sys.exit(f"{command} ended before its engine was up\n{''.join(said[-30:])}")
            self.has_done(f"{command}: its engine is up", began)
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)


def walk(folder: Path, source: str) -> list[Step]:
    """The steps up to the first agent that has run, and what the tutorial then looks at."""
    newcomer = Newcomer(folder, f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", source, "agentserve"], cwd=folder, env=newcomer.environment, check=True)
    newcomer.has_done("git clone SOURCE agentserve", began)
    newcomer.types("make setup", newcomer.clone)
    for block in (*blocks("yaml", PAGE), *blocks("python", PAGE)):
        newcomer.writes(block)
    newcomer.types("agentserve check-config agentserve.yaml", newcomer.clone)
    with newcomer.serving("agentserve serve --config agentserve.yaml"):
        answered = newcomer.types('python agent.py "mend the parser"', newcomer.clone)
        assert "of them cached" in answered, answered
        for command in ("agentserve programs --ended", "agentserve engines"):
            newcomer.types(f"{command} --url http://{newcomer.listen}", newcomer.clone)
    return newcomer.steps


def table(steps: Sequence[Step]) -> str:
    """The steps as Markdown."""
    rows = ["| typed | seconds | in all |", "|---|---:|---:|"]
    passed = 0.0
    for step in steps:
        passed += step.seconds
        rows.append(f"| `{step.typed}` | {step.seconds:.1f} | {passed:.0f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=str(ROOT), help="what is cloned: a URL or a folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        steps = walk(Path(folder), arguments.source)
    text = table(steps)
    print(text)  # noqa: T201
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if arguments.json:
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": load}
        arguments.json.write_text(
            json.dumps({"machine": machine, "steps": [asdict(each) for each in steps]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
