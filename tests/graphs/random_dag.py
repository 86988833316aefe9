"""Random graphs of tools that fail, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import random

from agentserve import tool
from agentserve.graphs import Add, At, Edit, EditError, Graph, Hold, Join, Node, OnError, Policy, Remove, Replace

WINDOW = 200
"""A node needs only such as came at most so many before it."""


@tool(effect="idempotent")
async def work(number: int, needs: list[object], fails: bool) -> int:
    """An emulated tool: it takes no time."""
    if fails:
        raise OSError("broken")
    return number


def random_graph(count: int, seed: int, failing: float = 0.0) -> Graph:
    """A graph of `count` nodes with up to three edges each; a share of them fails, and some of those are made good."""
    draw = random.Random(seed)
    graph = Graph(tools=[work], hold=Hold.NOTHING)
    graph.edit([Add(node(graph, number, draw, failing)) for number in range(count)])
    return graph


def node(graph: Graph, number: int, draw: random.Random, failing: float, name: str = "") -> Node:
    """Node `number`, which needs some of those before it."""
    least = max(0, number - WINDOW)
    needs = sorted({draw.randrange(least, number) for _ in range(draw.randrange(4))}) if number else []
    error = draw.choice([OnError.SKIP, OnError.FALLBACK])
    at = At(name or f"n{number}", join=draw.choice(list(Join)), policy=Policy(on_error=error))
    return graph.tool_node(work, number, [f"$n{each}" for each in needs], draw.random() < failing, at=at)


class Saboteur:
    """Cancels nodes, and changes such as have not started, while the graph runs."""

    def __init__(self, graph: Graph, count: int, seed: int) -> None:
        self.graph, self.count = graph, count
        self.draw = random.Random(seed)
        self.applied = 0

    async def run(self) -> None:
        """Goes on until the graph has ended."""
        while not self.graph.machine.finished:
            self.draw.choice([self.cancel, self.replace, self.grow])()
            await asyncio.sleep(0)

    def cancel(self) -> None:
        self.graph.cancel(f"n{self.draw.randrange(self.count)}")

    def replace(self) -> None:
        self._edit([Replace(node(self.graph, self.draw.randrange(1, self.count), self.draw, 0.1))])

    def grow(self) -> None:
        number = self.draw.randrange(1, self.count)
        extra = Add(node(self.graph, number, self.draw, 0.1, f"x{len(self.graph.machine.slots)}"))
        self._edit([extra, Remove(f"n{self.draw.randrange(self.count)}")] if self.draw.random() < 0.3 else [extra])

    def _edit(self, edits: list[Edit]) -> None:
        try:
            self.graph.edit(edits)
        except EditError:
            return
        self.applied += 1
