"""Two fakes in place of vLLM, up until this process is interrupted; run as a process by test_engines.py.

It prints the processes that it has started, the brake first. Its arguments: a folder for the logs, what happens while
they are up (`wait`, or `fail`), and how the fakes misbehave.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agentserve.commands.common import run_interruptibly
from agentserve.engines import command
from agentserve.text2sql.engines import Fleet, RealEngines

FAKE = Path(__file__).parents[1] / "engines" / "fake_vllm.py"


async def hold(folder: Path, deed: str) -> None:
    async with Fleet(Path("m")).up(folder, lambda _: None) as engines:
        assert isinstance(engines, RealEngines)
        assert engines._brake is not None
        sys.stdout.write(f"{engines._brake.pid} {' '.join(str(engine.pid) for engine in engines._engines)}\n")
        sys.stdout.flush()
        if deed == "fail":
            raise RuntimeError("something else went wrong")
        await asyncio.Event().wait()


if __name__ == "__main__":
    command.SERVER = (sys.executable, "-P", str(FAKE), *sys.argv[3:])
    run_interruptibly(hold(Path(sys.argv[1]), sys.argv[2]))
