"""The virtual token counter (VTC; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024).

Each client u has a counter v_u, and the client with the smallest is served next:

    a call of u arrives, u has none waiting    v_u = max(v_u, min of v over the clients with calls waiting)
    a call of u goes to an engine              v_u += w_in * prompt tokens / weight of u
    a call of u produces a token               v_u += w_out / weight of u

The client is the tenant. As in the released code nothing is lifted while nobody waits, and counters never decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from scheduler.fairness.memory_shares import MemoryShares
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import CallId, Seconds, TenantId, Tokens, Usage
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

    def least_waiting(self, client: TenantId, price: Price) -> float:
        """The smallest counter among other clients with calls waiting; infinite without any."""
        others = (other for other, calls in self._waiting.items() if calls and other != client)
        return min((self.counter(other, price) for other in others), default=math.inf)

    def wait(self, client: TenantId, call: CallId, price: Price, credit: float) -> None:
        """A call waits. A client that had none waiting gets at most so much credit for the time it did without."""
        if not self._waiting.setdefault(client, set()):
            least = self.least_waiting(client, price)
            if least < math.inf:
                self.charge(client, max(0.0, least - credit - self.counter(client, price)))
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

    Output is charged as it is reported, and a prompt's estimated length is corrected when the call is answered. Beside
    what is published, KV that is held in a gap while others wait is charged: at weight 1 all of an engine's memory for a
    second costs what the engine prefills in one. With the rest at their defaults this is the service that is shared.

    Attributes:
        prompt_weight: w_in, for each prompt token.
        output_weight: w_out, for each output token.
        cached_weight: what a prompt token found in the cache costs of another's price; 1 as published.
        held_weight: what KV held in gaps costs of its price; 0 as published.
        credit: how far behind those that wait a client may stay that had nothing waiting, in prompt tokens; 0 as
            published. One that asks for little is then next whenever it comes, and not only in every other turn.
        reserve: how many newcomers a tenant above its share of memory leaves room for on each engine (`memory_shares`);
            0 as published: nobody has a share of memory.
    """

    moving: ClassVar[bool] = True
    """Counters grow while calls wait."""

    prompt_weight: float = 1.0
    output_weight: float = 2.0
    cached_weight: float = 0.0
    held_weight: float = 1.0
    credit: float = 300_000.0
    reserve: float = 2.0
    _clients: Clients = field(init=False, default_factory=Clients, repr=False, compare=False)
    _shares: MemoryShares = field(init=False, default_factory=MemoryShares, repr=False, compare=False)

    def turn(self, view: View, call: Call) -> float:
        return self._clients.counter(_client(call), self._price(view))

    def behind(self, view: View, call: Call) -> bool:
        """Those above their share of memory, while others wait that were not all served more."""
        if not self.reserve or not self._shares.exceeds(view, call):
            return False
        price = self._price(view)
        return self._clients.counter(_client(call), price) >= self._clients.least_waiting(_client(call), price)

    def claims(self, view: View, call: Call) -> bool:
        return self.reserve > 0 and self._shares.crowded(view, call) and not self._shares.exceeds(view, call)

    def keeps(self, view: View, call: Call) -> Tokens:
        return self._shares.kept(view, call, self.reserve, self._clients.waiting) if self.reserve > 0 else 0

    def call_arrived(self, view: View, call: Call) -> None:
        self._shares.see(_client(call), view.now)
        self._clients.wait(_client(call), call.id, self._price(view), self.credit)

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        client, engine = program.key.tenant, view.engines.get(program.engine) if program.engine is not None else None
        if engine is not None and program.member and self._clients.waiting - {client}:
            held = program.context * gap / engine.account.capacity
            amount = self.held_weight * held / view.prefill_seconds(engine, 1)
            self._clients.charge(client, amount / view.weights.get(client, 1.0))

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
