"""Which vLLM is installed beside us, found out without importing it."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata

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
