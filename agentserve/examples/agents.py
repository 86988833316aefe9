"""Sub-agents side by side: each is a program of its own with a parent, so that the gateway knows whose it is."""

from __future__ import annotations

from collections.abc import Mapping

from agentserve.client import AsyncClient, AsyncProgram, tool
from agentserve.examples.common import main
from agentserve.graphs import At, Graph, Policy

TOPICS = ("history", "architecture", "people")
TURNS = 2


async def research(parent: AsyncProgram, topic: str, model: str) -> str:
    """One sub-agent: a short conversation with itself."""
    async with parent.child(workflow="researcher") as agent:
        messages = [{"role": "user", "content": f"Tell me about the {topic} of Rome."}]
        for turn in range(TURNS):
            last = turn == TURNS - 1
            answer = await agent.chat(messages, stage="research", model=model, max_tokens=24, final=last)
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": "Go on."}]
        return " ".join(message["content"] for message in messages if message["role"] == "assistant")


async def fan_out(client: AsyncClient, model: str) -> Mapping[str, object]:
    """The values of the sub-agents, by topic, and the summary."""
    async with client.program(workflow="editor", deadline=300) as program:

        @tool(effect="idempotent")
        async def agent(topic: str) -> str:
            return await research(program, topic, model)

        graph = Graph(program, model=model)
        policy = Policy(timeout=120, retries=1)
        found = [graph.tool(agent, topic, at=At(topic, policy=policy)) for topic in TOPICS]
        graph.llm("Summarise: " + " ".join(found), stage="summary", at=At("summary"), max_tokens=48)
        return (await graph.run(final=True)).check().values


async def example(client: AsyncClient, model: str) -> str:
    """The summary."""
    return str((await fan_out(client, model))["summary"])


if __name__ == "__main__":
    main(example, __doc__)
