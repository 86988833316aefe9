"""A graph's life as a pure state machine: nodes, edits and results in; calls to start and to stop out.

It has no clock and does no I/O. What happens is reported by `succeeded` and `failed`; what has to be done is taken with
`take`. Results of calls that were stopped are ignored, so that reports and stops may cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import cast

from agentserve.client.tools import Effect
from agentserve.graphs.calls import Args, Budget, Call, Calls, Command
from agentserve.graphs.edits import Add, Edit
from agentserve.graphs.errors import EditError
from agentserve.graphs.node import Join, Node, OnError, State, Work
from agentserve.graphs.slot import Slot, Values
from agentserve.graphs.staging import staged

NO_SPECULATION = Budget()


class Hold(Enum):
    """What waits until the plan was approved. Every edit takes the approval back, for what has not started."""

    NOTHING = "nothing"
    IRREVERSIBLE = "irreversible"
    EVERYTHING = "everything"


class Machine:
    """The nodes of one graph. `slots` are there to be read."""

    def __init__(self, hold: Hold = Hold.IRREVERSIBLE, budget: Budget = NO_SPECULATION) -> None:
        self.slots: dict[str, Slot] = {}
        self.running = 0
        """Nodes that run."""
        self.pending = 0
        self.calls = Calls(lambda command: self._commands.append(command), budget)
        self._speculates = budget.running > 0
        self._commands: list[Command] = []
        self._hold = hold
        self._approved = hold is Hold.NOTHING
        self.waits: dict[str, None] = {}
        """Nodes that could start but for the approval."""
        self.edits = 0
        """How often the graph was changed."""
        self._ended: list[Slot] = []
        """Slots whose edges are still to be decided."""
        self._values = Values(self.slots)
        self._chains: dict[str, int] = {}
        self._chains_of = -1

    # --- what others may know -----------------------------------------------------------------------------------------

    @property
    def unapproved(self) -> list[Node]:
        """Nodes that have not started, and may not without an approval."""
        if self._approved:
            return []
        pending = (slot.node for slot in self.slots.values() if slot.state is State.PENDING)
        return [node for node in pending if self._holds(node)]

    @property
    def finished(self) -> bool:
        """Whether every node has ended."""
        return not self.running and not self.pending

    def take(self) -> list[Command]:
        """What has to be done since the last time."""
        commands, self._commands = self._commands, []
        return commands

    def chain(self, name: str) -> int:
        """LLM nodes on the longest chain from this node on, itself included, of those that have not ended."""
        if self._chains_of != self.edits:
            self._chains, self._chains_of = {}, self.edits
        chains, stack = self._chains, [name]
        while stack:
            slot = self.slots[stack[-1]]
            unknown = [each for each in slot.dependants if each not in chains]
            if unknown:
                stack += unknown
                continue
            below = max((chains[each] for each in slot.dependants), default=0)
            chains[stack.pop()] = below + (slot.node.work.is_llm and not slot.state.ended)
        return chains[name]

    def joins(self, name: str) -> bool:
        """Whether an LLM node needs this one's value together with others'."""
        slots = (self.slots[each] for each in self.slots[name].dependants)
        return any(slot.node.work.is_llm and len(slot.node.needs) > 1 for slot in slots)

    # --- what nodes there are -----------------------------------------------------------------------------------------

    def add(self, *nodes: Node) -> None:
        """Adds nodes; as `edit`."""
        self.edit([Add(node) for node in nodes])

    def edit(self, edits: Sequence[Edit]) -> None:
        """Applies all of the edits, or none.

        Raises:
            EditError: a node has started, is unknown or exists already, needs one that there is not, or needs itself.
        """
        changed = staged(edits, self.slots)
        self.edits += 1
        self._approved = self._hold is Hold.NOTHING
        for name, node in changed.items():
            self._put(name, node)
        for name, node in changed.items():
            if node is not None:
                self._link(self.slots[name])
        for name, node in changed.items():
            if node is not None and self.slots[name].state is State.PENDING:
                self._decide(self.slots[name])
        self._settle()

    def approve(self) -> None:
        """What was held may start, until the next edit."""
        self._approved = True
        held, self.waits = self.waits, {}
        for name in held:
            if self.slots[name].state is State.PENDING:
                self._decide(self.slots[name])
        self._settle()

    def cancel(self, name: str) -> None:
        """Cancels a node that has not ended.

        Raises:
            EditError: there is no such node.
        """
        if name not in self.slots:
            raise EditError(f"there is no node {name}")
        self._end(self.slots[name], State.CANCELLED)
        self._settle()

    def cancel_all(self) -> None:
        """Cancels every node that has not ended, and stops what was begun early."""
        for slot in self.slots.values():
            self._end(slot, State.CANCELLED)
        self._settle()
        self.calls.stop_unowned()

    # --- what happens to calls ----------------------------------------------------------------------------------------

    def succeeded(self, call: Call, value: object) -> None:
        """The call has a value, and with it the nodes that own it."""
        if self.calls.running.get(call.number) is not call:
            return
        self.calls.succeeded(call, value)
        for name in list(call.owners):
            self._end(self.slots[name], State.DONE, value)
        self._settle()

    def failed(self, call: Call, error: BaseException) -> None:
        """An attempt has failed: there is another, or its nodes fail, as their policies say."""
        if self.calls.running.get(call.number) is not call or self.calls.again(call):
            return
        self.calls.failed(call)
        for name in list(call.owners):
            self._fail(self.slots[name], error)
        self._settle()

    def speculate(self, work: Work, args: Args, likely: float = 1.0) -> bool:
        """Begins a pure call that some node may need later. Whether it was begun: it is in the budget, and new."""
        return self.calls.speculate(work, args, likely) is not None

    # --- edits --------------------------------------------------------------------------------------------------------

    def _put(self, name: str, node: Node | None) -> None:
        """Replaces, removes or makes a slot, without its edges."""
        slot = self.slots.get(name)
        if slot is None:
            if node is not None:
                self.slots[name] = Slot(node)
                self.pending += 1
            return
        self.waits.pop(name, None)
        for need in slot.node.needs:
            if need in self.slots:
                self.slots[need].dependants.pop(name, None)
        self._drop_guess(slot)
        if node is None:
            self.pending -= 1
            del self.slots[name]
        else:
            slot.node = node

    def _link(self, slot: Slot) -> None:
        """Counts a new slot's edges, and decides those whose source has ended."""
        slot.waiting = len(slot.node.needs)
        slot.enabled = slot.disabled = 0
        for need in slot.node.needs:
            source = self.slots[need]
            source.dependants[slot.node.id] = None
            if source.settled:
                self._cross(source, slot)

    # --- edges and states ---------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Decides the edges of all that has ended, and of all that ends by that."""
        while self._ended:
            source = self._ended.pop()
            source.settled = True
            for name in source.dependants:
                slot = self.slots[name]
                if slot.state is State.PENDING:
                    self._cross(source, slot)
                    if slot.state is State.PENDING:
                        self._decide(slot)

    def _cross(self, source: Slot, slot: Slot) -> None:
        """Decides one edge. A condition that raises fails the node that it is for."""
        slot.waiting -= 1
        enabled = source.state is State.DONE
        condition = slot.node.when.get(source.node.id)
        if enabled and condition is not None:
            try:
                enabled = bool(condition(source.value))
            except Exception as error:
                self._fail(slot, error)
                return
        if enabled:
            slot.enabled += 1
        else:
            slot.disabled += 1

    def _decide(self, slot: Slot) -> None:
        """Starts a pending node, skips it, or leaves it waiting."""
        if slot.node.join is Join.ALL and slot.disabled:
            self._end(slot, State.SKIPPED)
        elif slot.waiting:
            if self._speculates:
                self._guess(slot)
        elif slot.node.needs and not slot.enabled:
            self._end(slot, State.SKIPPED)
        elif not self._approved and self._holds(slot.node):
            self.waits[slot.node.id] = None
        else:
            self._start(slot)

    def _holds(self, node: Node) -> bool:
        return self._hold is Hold.EVERYTHING or node.work.effect is Effect.IRREVERSIBLE

    def _start(self, slot: Slot) -> None:
        node = slot.node
        try:
            args = cast("Args", node.args.fill(self._values))
        except LookupError as error:
            self._fail(slot, error)
            return
        slot.call, value = self.calls.begin(node.id, node.work, args, node.policy)
        if slot.call is None:
            self._end(slot, State.DONE, value)
            return
        slot.state = State.RUNNING
        self.pending -= 1
        self.running += 1

    def _fail(self, slot: Slot, error: BaseException) -> None:
        policy = slot.node.policy
        if policy.on_error is OnError.FALLBACK:
            self._end(slot, State.DONE, policy.fallback)
        else:
            self._end(slot, State.FAILED)
        slot.error = error
        if policy.on_error is OnError.CANCEL:
            for other in self.slots.values():
                self._end(other, State.CANCELLED)

    def _end(self, slot: Slot, state: State, value: object = None) -> None:
        """Ends a node that has not ended yet; nothing for one that has."""
        if slot.state.ended:
            return
        if slot.state is State.RUNNING:
            self.running -= 1
        else:
            self.pending -= 1
            self.waits.pop(slot.node.id, None)
        slot.state, slot.value = state, value
        call, slot.call = slot.call, None
        if call is not None and state is State.CANCELLED:
            self.calls.give_up(call, slot.node.id)
        self._drop_guess(slot)
        self._ended.append(slot)

    # --- speculation --------------------------------------------------------------------------------------------------

    def _guess(self, slot: Slot) -> None:
        """Begins a pure node early whose values are all there, and which waits for the word of others only."""
        node = slot.node
        if slot.guess is not None or node.work.effect is not Effect.PURE or (not self._approved and self._holds(node)):
            return
        if any(self.slots[ref].state is not State.DONE for ref in node.args.refs):
            return
        try:
            args = cast("Args", node.args.fill(self._values))
        except LookupError:
            return
        slot.guess = self.calls.speculate(node.work, args, node.likely)

    def _drop_guess(self, slot: Slot) -> None:
        """Stops what was begun early for a node that does not come to need it."""
        guess, slot.guess = slot.guess, None
        if guess is not None and guess.speculative and not guess.owners:
            self.calls.give_up(guess, slot.node.id)
