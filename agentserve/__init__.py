"""A serving layer above vLLM that schedules whole agent programs instead of single requests.

The SDK's names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentserve.client import *  # noqa: F403
    from agentserve.graphs import Graph as Graph

    __all__: list[str]
    __version__: str
else:
    # what the star above stands for; whoever looks for anything else is not to wait for httpx
    _CLIENT = "DEFAULT_URL AgentserveError Ahead Answer AsyncClient AsyncProgram Client Effect Program Retries Stage Timing Tool tool"
    _HOMES = dict.fromkeys(_CLIENT.split(), "agentserve.client") | {"Graph": "agentserve.graphs"}

    __all__ = [*_HOMES, "__version__"]

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            value = version("agentserve")
        elif name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'agentserve' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
