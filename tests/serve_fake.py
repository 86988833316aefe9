"""`agentserve serve` with a fake in place of vLLM; run as a process by test_serve.py."""

from __future__ import annotations

import sys
from pathlib import Path

from agentserve import cli
from agentserve.engines import command, installed

command.SERVER = (sys.executable, "-P", str(Path(__file__).parent / "engines" / "fake_vllm.py"))
installed.has_vllm = lambda: True
cli.main()
