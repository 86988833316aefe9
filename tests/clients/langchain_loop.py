"""A loop of langchain-openai that calls one tool and then the other. Arguments: base URL, model."""

import sys
from typing import Literal

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr


@tool
def list_files(folder: Literal["src", "docs"]) -> str:
    """Lists the files of a folder."""
    return f"{folder}/a.py"


@tool
def count_lines(file: Literal["a.py", "b.py"]) -> str:
    """Counts the lines of a file."""
    return f"{file} has 7 lines"


TOOLS = [list_files, count_lines]


def main(base_url: str, model: str) -> None:
    chat = ChatOpenAI(
        model=model,
        base_url=base_url,
        api_key=SecretStr("none"),
        max_retries=0,
        temperature=0,
        max_completion_tokens=128,
    )
    messages: list[BaseMessage] = [HumanMessage("How long are the files in src?")]
    for each in TOOLS:
        answer = chat.bind_tools(TOOLS, tool_choice=each.name, strict=True).invoke(messages)
        (call,) = answer.tool_calls
        messages += [answer, ToolMessage(each.invoke(call["args"]), tool_call_id=call["id"])]
    chat.bind_tools(TOOLS, tool_choice="none", strict=True).invoke(messages)


main(*sys.argv[1:])
