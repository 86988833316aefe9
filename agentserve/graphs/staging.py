"""Edits before they are applied: what the nodes would be, and whether that is a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agentserve.graphs.edits import Add, Edit, Remove
from agentserve.graphs.errors import EditError
from agentserve.graphs.node import Node, State
from agentserve.graphs.slot import Slot

Changed = dict[str, Node | None]
"""Nodes by their ids; None for those that are gone."""


def staged(edits: Sequence[Edit], slots: Mapping[str, Slot]) -> Changed:
    """What the edits change.

    Raises:
        EditError: a node has started, is unknown or exists already, needs one that there is not, or needs itself.
    """
    changed: Changed = {}
    for edit in edits:
        name = edit.id if isinstance(edit, Remove) else edit.node.id
        known = changed[name] is not None if name in changed else name in slots
        if isinstance(edit, Add) == known:
            raise EditError(f"node {name} exists already" if known else f"there is no node {name}")
        slot = slots.get(name)
        if slot is not None and slot.state is not State.PENDING:
            raise EditError(f"node {name} is {slot.state}: only nodes that have not started can be changed")
        changed[name] = None if isinstance(edit, Remove) else edit.node
    _check(changed, slots)
    if any(not isinstance(edit, Add) for edit in edits) or not _in_order(changed):
        _check_acyclic(changed, slots)
    return changed


def _check(changed: Changed, slots: Mapping[str, Slot]) -> None:
    """Raises `EditError` if a node would need one that there is not."""
    for name, node in changed.items():
        for need in node.needs if node else ():
            if changed[need] is None if need in changed else need not in slots:
                hint = "; write $$ for a dollar" if node and need in node.args.refs else ""
                raise EditError(f"node {name} needs {need}, which there is not{hint}")
        if node is None and name in slots:
            users = [each for each in slots[name].dependants if each not in changed]
            if users:
                raise EditError(f"node {name} cannot be removed: {', '.join(users)} needs it")


def _in_order(changed: Changed) -> bool:
    """Whether each node needs only such of the others as come before it: then there is no cycle among them."""
    earlier: set[str] = set()
    for name, node in changed.items():
        if any(need in changed and need not in earlier for need in (node.needs if node else ())):
            return False
        earlier.add(name)
    return True


def _check_acyclic(changed: Changed, slots: Mapping[str, Slot]) -> None:
    """Searches from the changed nodes upwards. Raises `EditError` if one is met again on its own path."""
    done: set[str] = set()
    for name, node in changed.items():
        if node is None or name in done:
            continue
        path: dict[str, Iterator[str]] = {name: iter(node.needs)}
        while path:
            last = next(reversed(path))
            need = next(path[last], None)
            if need is None:
                del path[last]
                done.add(last)
            elif need in path:
                raise EditError(f"node {need} would need itself, by way of {last}")
            elif need not in done:
                path[need] = iter((changed.get(need) or slots[need].node).needs)
