"""An agent of openai-agents that calls one tool and then the other. Arguments: base URL, model."""

import asyncio
import sys
from dataclasses import replace
from typing import Any, Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIResponsesModel,
    RunContextWrapper,
    RunHooks,
    Runner,
    Tool,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

NEXT = {"list_files": "count_lines", "count_lines": "none"}


@function_tool
def list_files(folder: Literal["src", "docs"]) -> str:
    """Lists the files of a folder."""
    return f"{folder}/a.py"


@function_tool
def count_lines(file: Literal["a.py", "b.py"]) -> str:
    """Counts the lines of a file."""
    return f"{file} has 7 lines"


class InTurn(RunHooks[Any]):
    """Chooses the tools in the model's place, which is too small to."""

    async def on_tool_end(self, context: RunContextWrapper[Any], agent: Agent[Any], tool: Tool, result: object) -> None:
        agent.model_settings = replace(agent.model_settings, tool_choice=NEXT[tool.name])


async def main(base_url: str, model: str) -> None:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
    agent = Agent(
        name="counter",
        tools=[list_files, count_lines],
        model=OpenAIResponsesModel(model, client),
        model_settings=ModelSettings(tool_choice="list_files", max_tokens=128, temperature=0),
        reset_tool_choice=False,
    )
    await Runner.run(agent, "How long are the files in src?", hooks=InTurn(), max_turns=4)


asyncio.run(main(*sys.argv[1:]))
