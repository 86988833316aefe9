"""A gateway process that asks for keys, in front of an emulated engine, and schemathesis at work on its document."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentserve.gateway.tenants.keys import Role, changing
from tests.gateway.test_process import until_ready

CONFIG = """
listen: 127.0.0.1:{port}
keys: {folder}/keys.json
event_log: {folder}/events.jsonl
limits: {{remembered: 1000}}
pools: [{{model: m, engines: [{{name: a, emulated: {{kv_tokens: 8192, speed: 1000.0}}}}]}}]
"""
HANGS_AFTER = 150
"""Seconds without an answer: longer than the story of a call may take, and than a busy machine lets one wait."""
ENDLESS = "/agentserve/v1/watch"
LOOSE = (
    "[[operations]]\n"
    'include-tag = "inference"\n'
    "checks.positive_data_acceptance.enabled = false\n"
    "checks.negative_data_rejection.enabled = false\n"
    "[[operations]]\n"
    'include-path = ["/agentserve/v1/workflows", "/agentserve/v1/engines"]\n'
    "checks.positive_data_acceptance.enabled = false\n"
)
"""A schema cannot say that a graph has no cycle, nor that a whole number has no point. Of inference, the document says of a body what the gateway reads: the engine may refuse more, or less."""
UNSOUND = "allow_header_conformance"
"""A program's id may end in `/hints`, so that more is allowed there than is documented."""


@dataclass(frozen=True, slots=True)
class Served:
    """The process, its key for admins, and what it has logged so far."""

    process: subprocess.Popen[bytes]
    url: str
    key: str
    log: Path

    @property
    def tracebacks(self) -> int:
        """How often something went wrong that nobody had thought of."""
        return self.log.read_text(errors="replace").count("Traceback")


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """The gateway while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with changing(folder / "keys.json") as ring:
        key = ring.create("ops", 0.0, role=Role.ADMIN).text
    config = folder / "agentserve.yaml"
    config.write_text(CONFIG.format(port=port, folder=folder))
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until_ready(f"http://127.0.0.1:{port}")
        yield Served(process, f"http://127.0.0.1:{port}", key, folder / "log")
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Schemathesis:
    """How a run of it ended."""

    code: int
    said: str

    @property
    def cases(self) -> int:
        """Requests that were made."""
        found = re.search(r"([\d,]+) generated", self.said)
        return int(found[1].replace(",", "")) if found else 0


def schemathesis(gateway: Served, folder: Path, *options: str) -> Schemathesis:
    """Runs it over the gateway's document, with all its checks but what is said above."""
    settings = folder / "schemathesis.toml"
    settings.write_text(LOOSE)
    command = [
        *(sys.executable, "-P", "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(settings), "--no-color", "run", f"{gateway.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {gateway.key}", "--exclude-path", ENDLESS),
        *("--exclude-checks", UNSOUND, "--request-timeout", str(HANGS_AFTER), "--generation-database", "none"),
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Schemathesis(done.returncode, done.stdout + done.stderr)
