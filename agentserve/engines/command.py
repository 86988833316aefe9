"""The command line and the environment of a vLLM that we launch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from agentserve.config import Launch
from agentserve.engines import arguments, installed
from agentserve.engines.probe import Known
from agentserve.vllm_plugin.environment import PLUGINS_VARIABLE, plugins_value

HOST = "127.0.0.1"

SERVER: tuple[str, ...] = (sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server")
"""-P keeps the working folder off Python's path: a user's `tools.py` there must not become ours."""

PLUGIN_ARGS = (
    "--scheduling-policy",
    "priority",
    "--scheduler-cls",
    "agentserve.vllm_plugin.scheduler.make_scheduler",
    "--enable-prompt-tokens-details",
)


def command_args(launch: Launch, served_as: str, port: int, host: str = HOST) -> list[str]:
    """The arguments of vLLM. Those of the user come last, because the last one given wins."""
    args = ["--model", launch.model, "--served-model-name", served_as, "--host", host, "--port", str(port)]
    args.append("--disable-uvicorn-access-log")  # we ask for its health every second
    if launch.plugin:
        args += PLUGIN_ARGS
    if installed.is_cpu_build():
        args.append("--enforce-eager")  # compiling takes a minute at each start there, and its cache does not reload
        if installed.emulates_bfloat16():
            args += ["--dtype", "float32"]
    return [*args, *launch.args]


def environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment: the one we run in, our defaults where it is silent, and the user's wishes on top."""
    env = dict(inherited)
    if installed.is_cpu_build():
        env.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    if Path(launch.model).is_dir():
        env.setdefault("HF_HUB_OFFLINE", "1")
    env |= launch.env
    if launch.plugin:
        env[PLUGINS_VARIABLE] = plugins_value(env)
    return env


def known(launch: Launch, served_as: str) -> Known:
    """What the command line says of the engine and the engine itself will not."""
    policy = arguments.value_of(launch.args, "--scheduling-policy") or ("priority" if launch.plugin else "fcfs")
    seqs = arguments.value_of(launch.args, "--max-num-seqs") or ""
    return Known(served_as, priority=policy == "priority", max_num_seqs=int(seqs) if seqs.isdecimal() else None)
