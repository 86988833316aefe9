"""Parallel calls in the manner of LLMCompiler: a plan whose lines run while it is still being written.

A small model writes no good plans, so the plan here is written out; `PLANNER` shows what a larger one would be asked, with
`graph.run(program.stream(PLANNER, model=...))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from agentserve.client import AsyncClient, tool
from agentserve.examples.common import main
from agentserve.graphs import Graph, Prompt

PLANNER = """Write a plan, one call a line, numbered; $k stands for the result of line k.
Tools: population(city), ratio(larger, smaller), join(). End with join().
Question: how many times more people live in Tokyo than in Oslo, and than in Rome?"""

PLAN = """1. population("Tokyo")
2. population("Oslo")
3. population("Rome")
4. ratio($1, $2)
5. ratio($1, $3)
6. join()
"""

PEOPLE = {"Tokyo": 14_000_000, "Oslo": 720_000, "Rome": 2_750_000}


@tool(effect="pure")
async def population(city: str) -> int:
    """Looks it up, which takes a while."""
    await asyncio.sleep(0.3)
    return PEOPLE[city]


@tool(effect="pure")
async def ratio(larger: int, smaller: int) -> float:
    """How many times more."""
    return round(larger / smaller, 1)


def join(found: Mapping[str, object]) -> str:
    """What the last call is asked."""
    return f"Answer in one sentence. Tokyo has {found['4']} times the people of Oslo and {found['5']} of Rome."


async def written() -> AsyncIterator[str]:
    """The plan, word by word, as a model writes it."""
    for word in PLAN.split(" "):
        await asyncio.sleep(0.02)
        yield f"{word} "


async def example(client: AsyncClient, model: str) -> str:
    """The joined answer."""
    async with client.program(workflow="parallel") as program:
        joiner = Prompt("join", join, join=True, fields={"max_tokens": 48})
        graph = Graph(program, tools=[population, ratio], prompts=[joiner], model=model)
        outcome = (await graph.run(written(), final=True)).check()
        return f"{outcome['4']} and {outcome['5']} times: {outcome['6']}"


if __name__ == "__main__":
    main(example, __doc__)
