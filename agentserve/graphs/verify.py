"""A plan tried without doing anything: arguments fit, and what tools say of their dry runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from agentserve.client.tools import Tool
from agentserve.graphs.calls import Args
from agentserve.graphs.errors import Problem
from agentserve.graphs.machine import Machine
from agentserve.graphs.node import Kind, State
from agentserve.graphs.slot import Slot


class Unknown:
    """The value of a node of which nobody can say beforehand what it will be."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()


def verify(machine: Machine, tools: Mapping[str, Tool[Any, Any]]) -> list[Problem]:
    """What is wrong with the nodes that have not started; nothing, if the plan may begin.

    Tools are not run. A node's arguments have to fit its tool's signature; where they are known, the tool's dry run is
    asked, and what it returns stands for the node's value in the nodes behind it. LLM nodes, and tools without a dry
    run, have an unknown value. Conditions are not asked: every branch is tried.
    """
    values: dict[str, object] = {name: slot.value for name, slot in machine.slots.items() if slot.state is State.DONE}
    problems: list[Problem] = []
    for name in _order(machine):
        slot = machine.slots[name]
        values[name] = UNKNOWN
        if slot.node.work.kind is Kind.TOOL and slot.state is State.PENDING:
            try:
                values[name] = _try(slot, tools[slot.node.work.name], values)
            except Exception as error:
                problems.append(Problem(name, f"{slot.node.work.name}: {error or type(error).__name__}"))
    return problems


def _try(slot: Slot, tool: Tool[Any, Any], values: Mapping[str, object]) -> object:
    unknown = any(values.get(ref) is UNKNOWN for ref in slot.node.args.refs)
    template = slot.node.args
    args, kwargs = cast("Args", template.value if unknown else template.fill(values))
    tool.check(args, kwargs)
    if unknown or tool.dry_run is None:
        return UNKNOWN
    return tool.dry_run(*args, **kwargs)


def _order(machine: Machine) -> list[str]:
    """Nodes that have not ended, each after those that it needs."""
    waits = {
        name: sum(not machine.slots[need].state.ended for need in slot.node.needs)
        for name, slot in machine.slots.items()
        if not slot.state.ended
    }
    order = [name for name, count in waits.items() if not count]
    for name in order:
        for dependant in machine.slots[name].dependants:
            if dependant in waits:
                waits[dependant] -= 1
                if not waits[dependant]:
                    order.append(dependant)
    return order
