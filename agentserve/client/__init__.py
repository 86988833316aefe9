"""The SDK: programs and their calls, for agents that want to say more than a base URL can.

    with Client("http://127.0.0.1:8000") as client, client.program(workflow="fix-bug", deadline=30) as program:
        answer = program.chat("fix the bug", model="smollm2", stage="plan")

`program.chats([...])` sends several calls at the same time, `program.stream(...)` yields text as it comes,
`program.wrap(OpenAI())` makes an existing client the program's. All of it: docs/sdk.md.
"""

from agentserve.client.aio import AsyncClient, AsyncProgram
from agentserve.client.answer import Answer
from agentserve.client.base import DEFAULT_URL, Ahead, Timing
from agentserve.client.errors import AgentserveError
from agentserve.client.retries import Retries
from agentserve.client.sync import Client, Program
from agentserve.client.tools import Effect, Tool, tool
from agentserve.client.workflows import Stage

__all__ = [
    "DEFAULT_URL",
    "AgentserveError",
    "Ahead",
    "Answer",
    "AsyncClient",
    "AsyncProgram",
    "Client",
    "Effect",
    "Program",
    "Retries",
    "Stage",
    "Timing",
    "Tool",
    "tool",
]
