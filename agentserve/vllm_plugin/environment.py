"""The environment variables of an engine that runs the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

PLUGIN = "agentserve"
PLUGINS_VARIABLE = "VLLM_PLUGINS"
GUARD_VARIABLE = "AGENTSERVE_GUARD"

# vLLM loads every installed plugin of these groups while VLLM_PLUGINS is unset, and only the named ones once it is set.
_LOADED_BY_DEFAULT = (
    "vllm.general_plugins",
    "vllm.platform_plugins",
    "vllm.io_processor_plugins",
    "vllm.stat_logger_plugins",
)


def plugins_value(environ: Mapping[str, str]) -> str:
    """The value of VLLM_PLUGINS that adds the plugin and takes none away.

    vLLM serves an endpoint plugin only if VLLM_PLUGINS names it, but naming one there switches off every plugin that
    is not named, the platform plugins of other accelerators included. So all that vLLM would have loaded are named.
    """
    if PLUGINS_VARIABLE in environ:
        names = [name for name in environ[PLUGINS_VARIABLE].split(",") if name]
    else:
        names = [plugin.name for group in _LOADED_BY_DEFAULT for plugin in entry_points(group=group)]
    return ",".join(dict.fromkeys([*names, PLUGIN]))


def guard_enabled(environ: Mapping[str, str]) -> bool:
    """Whether waiting requests are kept from breaking the pins of programs older than their own (AGENTSERVE_GUARD)."""
    return environ.get(GUARD_VARIABLE, "1") != "0"
