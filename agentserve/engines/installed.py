"""Which vLLM is installed beside us, found out without importing it."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata

HOW_TO_INSTALL = (
    "vLLM is not installed in this environment: run `make setup`, or `pip install 'agentserve[vllm]'` on a machine "
    "with a GPU, or name a running engine by its url in a configuration file"
)

PLUGIN = "agentserve"
"""The name of our endpoint plugin, which vLLM loads only if VLLM_PLUGINS names it."""

_PLUGIN_GROUPS = ("general_plugins", "io_processor_plugins", "platform_plugins", "stat_logger_plugins")


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


def plugins_with_ours(chosen: str | None) -> str:
    """A value of VLLM_PLUGINS that adds our plugin to those that are loaded anyway.

    Naming any plugin turns off all that are not named, so where the user has chosen none (`chosen` is None, and vLLM
    loads all), all that are installed are named.
    """
    if chosen is not None:
        names = chosen.split(",")
    else:
        names = sorted(
            {point.name for group in _PLUGIN_GROUPS for point in metadata.entry_points(group=f"vllm.{group}")}
        )
    return ",".join(dict.fromkeys([*filter(None, names), PLUGIN]))
