"""Which vLLM is installed beside us, found out without importing it."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path

HOW_TO_INSTALL = (
    "vLLM is not installed in this environment: run `make setup`, or `pip install 'agentserve[vllm]'` on a machine "
    "with a GPU, or name a running engine by its url in a configuration file"
)


def has_vllm() -> bool:
    """Whether an engine can be launched."""
    return importlib.util.find_spec("vllm") is not None


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed runs on the CPU, by the rules of vllm.platforms."""
    if sys.platform == "darwin":
        return True
    try:
        return "cpu" in metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return has_vllm()  # the CPU builds of PyPI are a distribution of another name


def emulates_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor lacks instructions for bfloat16, whose products then take ten times those of float32.

    False where the system does not tell (no `/proc/cpuinfo`).
    """
    try:
        words = set(cpuinfo.read_text().split())
    except OSError:
        return False
    return not words & {"avx512_bf16", "amx_bf16", "bf16"}
