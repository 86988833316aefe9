"""Whether a cluster's nodes can hold what a cluster file asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentserve.cluster.section import ClusterFile, EngineGroup


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a Ray cluster: what it has in all, by Ray's names, and its labels."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]


def needs(group: EngineGroup) -> dict[str, float]:
    """What one engine takes, by Ray's names."""
    wanted = {"CPU": group.cpus, "GPU": group.gpus, **group.resources}
    return {name: amount for name, amount in wanted.items() if amount > 0}


def unplaceable(file: ClusterFile, nodes: Sequence[Node]) -> list[str]:
    """What no node can hold, one line a group of engines; empty if all can be placed one by one."""
    return [line for group in file.engines if (line := _problem(group, nodes))]


def _problem(group: EngineGroup, nodes: Sequence[Node]) -> str:
    where = [node for node in nodes if group.labels.items() <= node.labels.items()]
    if not where:
        labels = ", ".join(f"{name}={value}" for name, value in group.labels.items())
        return f"engines {group.name!r}: no node has the labels {labels}; give them with `ray start --labels`"
    wanted = needs(group)
    if any(all(node.resources.get(name, 0.0) >= amount for name, amount in wanted.items()) for node in where):
        return ""
    for name, amount in wanted.items():
        most = max(node.resources.get(name, 0.0) for node in where)
        if most < amount:
            key = {"CPU": "cpus", "GPU": "gpus"}.get(name, f"resources.{name}")
            return (
                f"engines {group.name!r}: each takes {amount:g} {name}, and no node has more than {most:g}; lower"
                f" `{key}`, or add a node that has them"
            )
    asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    return f"engines {group.name!r}: no single node has {asked}; add one, or ask for less"
