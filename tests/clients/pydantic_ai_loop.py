"""An agent of pydantic-ai that calls one tool and then the other. Arguments: base URL, model."""

import sys
from typing import Literal

from pydantic_ai import Agent, ModelSettings, RunContext
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def list_files(folder: Literal["src", "docs"]) -> str:
    """Lists the files of a folder."""
    return f"{folder}/a.py"


def count_lines(file: Literal["a.py", "b.py"]) -> str:
    """Counts the lines of a file."""
    return f"{file} has 7 lines"


def in_turn(context: RunContext[None]) -> ModelSettings:
    """Chooses the tools in the model's place, which is too small to."""
    choices: list[list[str] | Literal["none"]] = [["list_files"], ["count_lines"], "none"]
    words: dict[str, object] = {"min_tokens": 4}  # an empty answer would be asked for again
    choice = choices[max(context.run_step, 1) - 1]
    return ModelSettings(max_tokens=128, temperature=0, tool_choice=choice, extra_body=words)


def main(base_url: str, model: str) -> None:
    provider = OpenAIProvider(base_url=base_url, api_key="none")
    agent = Agent(OpenAIChatModel(model, provider=provider), tools=[list_files, count_lines], model_settings=in_turn)
    agent.run_sync("How long are the files in src?")


main(*sys.argv[1:])
