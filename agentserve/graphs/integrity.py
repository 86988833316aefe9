"""Whether a machine's books agree with each other."""

from __future__ import annotations

from agentserve.graphs.machine import Machine
from agentserve.graphs.node import Join, State
from agentserve.graphs.slot import Slot


def check_integrity(machine: Machine) -> None:
    """Checks that states, edges, calls and counts agree.

    Raises:
        AssertionError: they do not; the message says where.
    """
    states = [slot.state for slot in machine.slots.values()]
    assert machine.running == states.count(State.RUNNING), "the count of running nodes is wrong"
    assert machine.pending == states.count(State.PENDING), "the count of pending nodes is wrong"
    owned = [name for call in machine.calls.running.values() for name in call.owners]
    running = {name for name, slot in machine.slots.items() if slot.state is State.RUNNING}
    assert sorted(owned) == sorted(running), "running nodes and the owners of running calls differ"
    early = sum(call.speculative for call in machine.calls.running.values())
    assert machine.calls.speculating == early, "the count of speculative calls is wrong"
    assert early == sum(not call.owners for call in machine.calls.running.values()), "a call runs for nobody"
    for name, slot in machine.slots.items():
        _check_slot(machine, name, slot)


def _check_slot(machine: Machine, name: str, slot: Slot) -> None:
    sources = [machine.slots[need] for need in slot.node.needs]
    assert all(name in source.dependants for source in sources), f"{name} is not known to what it needs"
    assert slot.value is None or slot.state is State.DONE, f"{name} has a value and is {slot.state}"
    assert slot.settled == slot.state.ended, f"{name} has ended without deciding its edges"
    if slot.state is State.PENDING:
        open_edges = sum(not source.state.ended for source in sources)
        assert slot.waiting == open_edges, f"{name} waits for {slot.waiting} edges, and {open_edges} are open"
        assert slot.waiting or name in machine.waits, f"{name} waits for nothing"
        assert slot.node.join is Join.ANY or not slot.disabled, f"{name} should have been skipped"
    if slot.state is State.RUNNING or (slot.state is State.DONE and slot.error is None):
        assert all(source.state.ended for source in sources), f"{name} started too early"
        if slot.node.join is Join.ALL:
            assert all(source.state is State.DONE for source in sources), f"{name} started without a value"
