"""Graphs of tool and LLM calls that run as soon as their inputs are there: docs/graphs.md.

graph = Graph(program, model="smollm2")
rome, oslo = graph.tool(weather, "Rome"), graph.tool(weather, "Oslo")
answer = graph.llm(f"Where is it warmer? Rome: {rome}. Oslo: {oslo}.")
print((await graph.run())[answer])
"""

from agentserve.graphs.calls import Budget
from agentserve.graphs.edits import Add, Edit, Remove, Replace
from agentserve.graphs.errors import EditError, GraphError, NodeError, PlanError, PlanRejectedError, Problem
from agentserve.graphs.graph import At, Graph, Guess
from agentserve.graphs.machine import Hold
from agentserve.graphs.node import Join, Node, OnError, Policy, State
from agentserve.graphs.outcome import Outcome
from agentserve.graphs.prompt import Prompt

__all__ = [
    "Add",
    "At",
    "Budget",
    "Edit",
    "EditError",
    "Graph",
    "GraphError",
    "Guess",
    "Hold",
    "Join",
    "Node",
    "NodeError",
    "OnError",
    "Outcome",
    "PlanError",
    "PlanRejectedError",
    "Policy",
    "Problem",
    "Prompt",
    "Remove",
    "Replace",
    "State",
]
