"""Runs of nodes: equal pure ones share one, and some begin before any node needs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from agentserve.client.tools import Effect
from agentserve.graphs.node import DEFAULT, Policy, Work
from agentserve.graphs.template import frozen

Args: TypeAlias = tuple[tuple[object, ...], dict[str, object]]
Key: TypeAlias = "tuple[str, object]"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be run that perhaps nobody needs. Without one nothing is.

    Attributes:
        running: speculative calls at the same time.
        unused: speculative calls that no node has needed so far, or ever.
        likely: how likely a call must be at least, from 0 to 1.
    """

    running: int = 0
    unused: int = 32
    likely: float = 0.5


@dataclass(slots=True, eq=False)
class Call:
    """One run for all the nodes that own it; `args` have no placeholders any more."""

    number: int
    work: Work
    args: Args
    key: Key | None
    policy: Policy = DEFAULT
    owners: dict[str, None] = field(default_factory=dict)
    attempt: int = 1
    speculative: bool = False
    """It began before a node needed it, and none does yet."""

    @property
    def node(self) -> str:
        """The node it was begun for; empty if it is speculative."""
        return next(iter(self.owners), "")


@dataclass(frozen=True, slots=True)
class Start:
    """Run the call now, or after a pause of some seconds."""

    call: Call
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody needs the call any more."""

    call: Call


Command: TypeAlias = Start | Stop


class Calls:
    """The calls that run, and the values of pure ones that have ended."""

    def __init__(self, emit: Callable[[Command], None], budget: Budget) -> None:
        self._emit = emit
        self._budget = budget
        self._count = 0
        self._shared: dict[Key, Call] = {}
        """Pure calls that run."""
        self._values: dict[Key, object] = {}
        self.running: dict[int, Call] = {}
        self.unused: set[Key] = set()
        """Keys of speculative calls that no node has needed so far."""
        self.asking = 0
        """LLM calls among them."""
        self.speculating = 0
        self.adopted = 0
        self.begun_early = 0
        self.shared = 0

    def begin(self, node: str, work: Work, args: Args, policy: Policy) -> tuple[Call | None, object]:
        """Begins a call for a node, or gives it one that is equal and pure: the call, or None and its value."""
        key = _key(work, args)
        if key is not None and key in self._values:
            self._adopt(key)
            return None, self._values[key]
        call = self._shared.get(key) if key is not None else None
        if call is None:
            call = self._new(work, args, key, policy)
            self._emit(Start(call))
        else:
            self._adopt(key)
            if call.speculative:
                call.speculative, call.policy = False, policy
                self.speculating -= 1
        call.owners[node] = None
        return call, None

    def speculate(self, work: Work, args: Args, likely: float) -> Call | None:
        """Begins a call that no node needs yet; None if it is not pure, known already, or beyond the budget."""
        if likely < self._budget.likely or self.speculating >= self._budget.running:
            return None
        key = _key(work, args)
        if key is None or key in self._shared or key in self._values or len(self.unused) >= self._budget.unused:
            return None
        call = self._new(work, args, key, DEFAULT)
        call.speculative = True
        self.unused.add(key)
        self.speculating += 1
        self.begun_early += 1
        self._emit(Start(call))
        return call

    def again(self, call: Call) -> bool:
        """Begins a failed call's next attempt, if it has one."""
        policy = call.policy
        if call.speculative or call.attempt > policy.retries or call.work.effect is Effect.IRREVERSIBLE:
            return False
        self._emit(Start(call, policy.backoff * 2 ** (call.attempt - 1)))
        call.attempt += 1
        return True

    def succeeded(self, call: Call, value: object) -> None:
        """Keeps the value of a pure call for those that are equal."""
        self._forget(call)
        if call.key is not None:
            self._values[call.key] = value

    def failed(self, call: Call) -> None:
        """The call has no value."""
        self._forget(call)

    def give_up(self, call: Call, node: str) -> None:
        """The node does not need the call any more; without owners it is stopped."""
        call.owners.pop(node, None)
        if not call.owners and call.number in self.running:
            self._forget(call)
            self._emit(Stop(call))

    def stop_unowned(self) -> None:
        """Stops what was begun early and has no owner."""
        for call in [call for call in self.running.values() if not call.owners]:
            self.give_up(call, "")

    def _new(self, work: Work, args: Args, key: Key | None, policy: Policy) -> Call:
        self._count += 1
        call = self.running[self._count] = Call(self._count, work, args, key, policy)
        self.asking += work.is_llm
        if key is not None:
            self._shared[key] = call
        return call

    def _adopt(self, key: Key | None) -> None:
        if key in self.unused:
            self.unused.discard(key)
            self.adopted += 1
        else:
            self.shared += 1

    def _forget(self, call: Call) -> None:
        del self.running[call.number]
        self.asking -= call.work.is_llm
        if call.key is not None:
            del self._shared[call.key]
        if call.speculative:
            self.speculating -= 1


def _key(work: Work, args: Args) -> Key | None:
    """Equal for equal pure calls; None for all others, and where arguments cannot be compared."""
    if work.effect is not Effect.PURE:
        return None
    try:
        return work.name, frozen(args)
    except TypeError:
        return None
