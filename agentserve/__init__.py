"""A serving layer above vLLM that schedules whole agent programs instead of single requests."""

from importlib.metadata import version

from agentserve.client import AgentserveError, AsyncClient, Client

__all__ = ["AgentserveError", "AsyncClient", "Client", "__version__"]

__version__ = version("agentserve")
