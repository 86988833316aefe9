"""The two engines: SmolLM2-135M drafts, the same made several times deeper is the target; each has a core of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agentserve.config import Emulated, Launch
from agentserve.engines import demo_model, installed
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.base import Progress
from agentserve.engines.in_process import InProcessEngine
from agentserve.engines.launched import LaunchedEngine
from scheduler.types import EngineId
from tests.benchmarks.reasoner.deepened import deepen

DRAFT, TARGET = "smollm2", "smollm2-deep"
DEPTH = 3
"""How many layers the target has for each of the draft's."""
KV_BLOCKS, BLOCK_SIZE, CONTEXT = 512, 32, 2048
BATCH = 256
"""Tokens of a step: few, so that a step with eight verifications does not last for all of them."""


def prepare(folder: Path, depth: int) -> None:
    """Writes both models into a folder, unless they are there.

    Raises:
        RuntimeError: the package that ships the draft is not installed.
    """
    deepen(demo_model.prepare(folder / DRAFT), folder / TARGET, depth)


@asynccontextmanager
async def running(
    folder: Path, logs: Path, progress: Progress, *, tails: bool, emulated: bool
) -> AsyncIterator[dict[str, str]]:
    """Both engines, by model their URLs. They are ended on leaving, whatever the reason.

    The target scores tails with our plugin, or judges without it.
    """
    plugins = {DRAFT: True, TARGET: tails}
    engines = {
        model: _emulated(model) if emulated else _launched(model, folder, logs, core, plugin)
        for core, (model, plugin) in enumerate(plugins.items())
    }
    async with AsyncExitStack() as stack:
        for engine in engines.values():
            stack.push_async_callback(engine.stop)
            await engine.start(progress)
        yield {model: engine.url for model, engine in engines.items()}


def _emulated(model: str) -> AttachedEngine:
    size = Emulated(kv_tokens=KV_BLOCKS * BLOCK_SIZE, block_size=BLOCK_SIZE, max_model_len=CONTEXT, speed=20.0)
    return InProcessEngine(EngineId(model), size, model)


def _launched(model: str, folder: Path, logs: Path, core: int, plugin: bool) -> AttachedEngine:
    args = [
        "--block-size",
        BLOCK_SIZE,
        "--max-num-batched-tokens",
        BATCH,
        "--num-gpu-blocks-override",
        KV_BLOCKS,
        "--max-model-len",
        CONTEXT,
    ]
    args += ["--scheduling-policy", "priority", "--enable-prompt-tokens-details"]
    one_core = {"VLLM_CPU_OMP_THREADS_BIND": str(core % (os.cpu_count() or 1))} if installed.is_cpu_build() else {}
    launch = Launch(model=str(folder / model), args=[str(arg) for arg in args], plugin=plugin, env=one_core)
    return LaunchedEngine(EngineId(model), launch, model, logs / f"{model}.log")
