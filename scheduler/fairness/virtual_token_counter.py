"""The virtual token counter (VTC; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024).

Each client u has a counter v_u, and the client with the smallest is served next:

    a call of u arrives, u has none waiting    v_u = max(v_u, min of v over the clients with calls waiting)
    a call of u goes to an engine              v_u += w_in * prompt tokens / weight of u
    a call of u produces a token               v_u += w_out / weight of u

The client is the tenant. As in the released code nothing is lifted while nobody waits, and counters never decay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from scheduler.fairness.memory_shares import MemoryShares
from scheduler.listener import Listener
from scheduler.state import Call, EngineState
from scheduler.types import CallId, TenantId, Tokens, Usage
from scheduler.view import View

Price: TypeAlias = Callable[[TenantId], float]
"""What an output token of a client costs."""


class Clients:
    """What each client has been charged, and its calls."""

    def __init__(self) -> None:
        self._charged: dict[TenantId, float] = {}
        """For prompts, and for the output of calls that have ended."""
        self._waiting: dict[TenantId, set[CallId]] = {}
        self._running: dict[TenantId, dict[CallId, Call]] = {}

    @property
    def waiting(self) -> set[TenantId]:
        """Clients with calls waiting."""
        return {client for client, calls in self._waiting.items() if calls}

    def counter(self, client: TenantId, price: Price) -> float:
        """v_u now, with the output so far of its running calls at the client's price of a token."""
        running = self._running.get(client, {})
        return self._charged.get(client, 0.0) + price(client) * sum(call.output for call in running.values())

    def charge(self, client: TenantId, amount: float) -> None:
        """Adds to the client's counter."""
        self._charged[client] = self._charged.get(client, 0.0) + amount

    def wait(self, client: TenantId, call: CallId, price: Price) -> None:
        """A call waits. A client that had none waiting gets no credit for the time it did without."""
        if not self._waiting.setdefault(client, set()):
            others = [self.counter(other, price) for other, calls in self._waiting.items() if calls]
            if others:
                self.charge(client, max(0.0, min(others) - self.counter(client, price)))
        self._waiting[client].add(call)

    def run(self, client: TenantId, call: Call) -> None:
        """A call goes to an engine."""
        self._waiting.setdefault(client, set()).discard(call.id)
        self._running.setdefault(client, {})[call.id] = call

    def leave(self, client: TenantId, call: Call) -> bool:
        """A call waits and runs no more; says if it ran."""
        self._waiting.setdefault(client, set()).discard(call.id)
        return self._running.get(client, {}).pop(call.id, None) is not None


@dataclass(frozen=True, slots=True)
class VirtualTokenCounter(Listener):
    """The tenant with the smallest counter goes first.

    Output is charged as it is reported, and a prompt's estimated length is corrected when the call is answered.

    Attributes:
        prompt_weight: w_in, for each prompt token.
        output_weight: w_out, for each output token.
        cached_weight: what a prompt token found in the cache costs of another's price; 1 as published.
        reserve: how many newcomers a tenant above its share of memory leaves room for on each engine (`memory_shares`);
            0 as published: nobody has a share of memory.
    """

    moving: ClassVar[bool] = True
    """Counters grow while calls wait."""

    prompt_weight: float = 1.0
    output_weight: float = 2.0
    cached_weight: float = 1.0
    reserve: float = 2.0
    _clients: Clients = field(init=False, default_factory=Clients, repr=False, compare=False)
    _shares: MemoryShares = field(init=False, default_factory=MemoryShares, repr=False, compare=False)

    def turn(self, view: View, call: Call) -> float:
        return self._clients.counter(_client(call), self._price(view))

    def behind(self, view: View, call: Call) -> bool:
        return self.reserve > 0 and self._shares.exceeds(view, call)

    def keeps(self, view: View, call: Call) -> Tokens:
        return self._shares.kept(view, call, self.reserve, self._clients.waiting) if self.reserve > 0 else 0

    def call_arrived(self, view: View, call: Call) -> None:
        self._shares.see(_client(call), view.now)
        self._clients.wait(_client(call), call.id, self._price(view))

    def call_dispatched(self, view: View, call: Call, engine: EngineState) -> None:
        self._clients.run(_client(call), call)
        self._charge(view, call, self.prompt_weight * call.prompt)

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        self._shares.see(_client(call), view.now)
        if self._clients.leave(_client(call), call):
            prompt = usage.prompt - call.prompt - (1.0 - self.cached_weight) * (usage.cached or 0)
            self._charge(view, call, self.prompt_weight * prompt + self.output_weight * usage.output)

    def call_dropped(self, view: View, call: Call) -> None:
        if self._clients.leave(_client(call), call):
            self._charge(view, call, self.output_weight * call.output)

    def _charge(self, view: View, call: Call, amount: float) -> None:
        client = _client(call)
        self._clients.charge(client, amount / view.weights.get(client, 1.0))

    def _price(self, view: View) -> Price:
        return lambda client: self.output_weight / view.weights.get(client, 1.0)


def _client(call: Call) -> TenantId:
    return call.program.key.tenant
