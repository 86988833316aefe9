"""A serving layer above vLLM that schedules whole agent programs instead of single requests.

The SDK's names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentserve.client import (
        AgentserveError,
        Ahead,
        Answer,
        AsyncClient,
        AsyncProgram,
        Client,
        Effect,
        Program,
        Retries,
        Tool,
        tool,
    )
    from agentserve.graphs import Graph

    __version__: str

_HOMES = {
    "agentserve.client": (
        "AgentserveError",
        "Ahead",
        "Answer",
        "AsyncClient",
        "AsyncProgram",
        "Client",
        "Effect",
        "Program",
        "Retries",
        "Tool",
        "tool",
    ),
    "agentserve.graphs": ("Graph",),
}

__all__ = [
    "AgentserveError",
    "Ahead",
    "Answer",
    "AsyncClient",
    "AsyncProgram",
    "Client",
    "Effect",
    "Graph",
    "Program",
    "Retries",
    "Tool",
    "__version__",
    "tool",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("agentserve")
    else:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'agentserve' has no attribute {name!r}")
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
