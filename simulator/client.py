"""The clients: programs arrive, their calls become due, and answers come back to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import Random
from typing import NamedTuple, TypeAlias

from scheduler.types import DEFAULT_TENANT, ProgramKey, Seconds, TenantId
from simulator.clock import Clock
from simulator.live import LiveCall, LiveProgram, heirs
from simulator.network import Network
from simulator.result import ProgramResult
from workloads.distributions import Distribution, Uniform
from workloads.program import Call, CallRef, Edge, Program, Said, WorkloadError

BYTES_PER_TOKEN = Uniform(3.2, 4.8)
"""English prose has about 4.5 bytes a token, code and JSON between 3 and 4."""
SHORTEST_DEADLINE: Seconds = 0.001
"""A client whose program is late already asks for its answer at once."""
REMEMBERED = 10_000
"""Programs that have ended and that calls of others may still wait for."""


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What clients say in their requests where a trace does not tell (`Call.said`), and how their text is.

    With `announce_end`, the last call of a program says that it is. With `exact_lengths`, a request names its
    answer's length, as a replay of a trace does; without, it names no limit. With `foretell`, the scheduler is told
    what nobody can know: each answer's length, how many calls are left, and each gap as it begins. That is the bound
    for every policy that has to guess.
    """

    announce_end: bool = True
    exact_lengths: bool = True
    foretell: bool = False
    bytes_per_token: Distribution = BYTES_PER_TOKEN
    """Drawn once a program."""
    tenants: frozenset[str] = frozenset()
    """Programs whose ids begin with one of these and a slash are that tenant's, as a recording names them."""

    def key(self, program: str) -> ProgramKey:
        """A program's id within its tenant."""
        tenant, slash, rest = program.partition("/")
        return (
            ProgramKey(TenantId(tenant), rest)
            if slash and tenant in self.tenants
            else ProgramKey(DEFAULT_TENANT, program)
        )

    def said(self, call: Call, *, last: bool) -> Said:
        """What goes with a call of which no trace tells."""
        return Said(self.announce_end and last, call.output_tokens if self.exact_lengths else None)


Send: TypeAlias = Callable[[LiveCall], None]
Ended: TypeAlias = Callable[[ProgramResult], None]


class _Waiter(NamedTuple):
    """A call, and one edge that it waits for."""

    live: LiveProgram
    call: Call
    edge: Edge


class Clients:
    """Everybody who sends calls. Programs are read from their stream as they arrive, and forgotten when they end.

    They come in the order of their arrivals; a program's children may follow it whenever they arrive.
    """

    def __init__(
        self,
        clock: Clock,
        programs: Iterable[Program],
        send: Send,
        ended: Ended,
        *,
        seed: int,
        network: Network,
        rules: ClientRules,
    ) -> None:
        self._clock = clock
        self._programs: Iterator[Program] = iter(programs)
        self._send = send
        self._ended = ended
        self._seed = seed
        self._network = network
        self._rules = rules
        self._next: Program | None = None
        self._coming = 0
        """Children that have been read and have not arrived."""
        self._live: dict[str, LiveProgram] = {}
        self._past: OrderedDict[str, Mapping[str, Seconds]] = OrderedDict()
        self._waiters: dict[CallRef, list[_Waiter]] = {}
        self._contents = count(1)
        self._read(0.0)

    @property
    def done(self) -> bool:
        """Every program has come and gone."""
        return not self._live and self._next is None and not self._coming

    def stuck(self) -> Iterator[str]:
        """The calls that wait for the end of others."""
        for ref, waiters in self._waiters.items():
            for waiter in waiters:
                yield f"{waiter.live.id}:{waiter.call.id} waits for the end of {ref}"

    def tools(self, live: LiveProgram, call: Call) -> tuple[str, ...]:
        """The tools that the call's answer asks for: those that run until the calls that wait for it."""
        waiters = self._waiters.get(CallRef(live.id, call.id), ())
        return tuple(waiter.edge.tool for waiter in waiters if waiter.edge.tool)

    def gap(self, live: LiveProgram, call: Call) -> Seconds | None:
        """How long it will be until the call's answer is followed by another call; None if that depends on others."""
        waiters = self._waiters.get(CallRef(live.id, call.id), ())
        return min((waiter.edge.gap_s for waiter in waiters if waiter.live is live), default=None)

    def answered(self, answered: LiveCall) -> None:
        """The answer is complete at the gateway, and a little later at the client."""
        live, call = answered.program, answered.call
        live.ends[call.id] = end = self._clock.now + live.legs.client
        live.prompt += answered.prompt.tokens
        live.cached += answered.cached
        live.output += call.output_tokens
        live.unanswered -= 1
        for waiter in self._waiters.pop(CallRef(live.id, call.id), ()):
            self._release(waiter, end)
        self._end_if_over(live)

    def refused(self, refused: LiveCall) -> None:
        """The gateway will not serve the call: its client gives the program up, and sends no more of its calls.

        For programs that wait for one of those it has ended.
        """
        live = refused.program
        live.given_up = True
        live.unanswered -= 1
        self._end_if_over(live)

    # --- programs ---------------------------------------------------------------------------------------------------

    def _read(self, previous: Seconds) -> None:
        """Reads on to the next program without a parent. Those before it are children, and know when to start."""
        self._next = None
        for program in self._programs:
            if program.parent is None:
                _check_order(program, previous)
                self._next = program
                self._clock.at(program.arrival_s, self._arrive)
                return
            self._coming += 1
            self._clock.at(program.arrival_s, partial(self._arrive_late, program))

    def _arrive(self) -> None:
        arrived = self._next
        if arrived is not None:
            self._start(arrived)
            self._read(arrived.arrival_s)

    def _arrive_late(self, child: Program) -> None:
        self._coming -= 1
        self._start(child)

    def _start(self, program: Program) -> None:
        if program.id in self._live or program.id in self._past:
            raise WorkloadError(f"two programs have the id {program.id!r}")
        live = self._live[program.id] = self._enliven(program)
        for call in program.calls:
            self._await(live, call)

    def _enliven(self, program: Program) -> LiveProgram:
        rng = Random(f"program/{self._seed}/{program.id}")
        return LiveProgram(
            program=program,
            key=self._rules.key(program.id),
            parent=None if program.parent is None else self._rules.key(program.parent),
            bytes_per_token=self._rules.bytes_per_token.draw(rng),
            legs=self._network.legs(rng),
            unsent=len(program.calls),
            unanswered=len(program.calls),
            heirs=heirs(program),
        )

    def _end_if_over(self, live: LiveProgram) -> None:
        """A program that was given up is over when nothing is under way any more."""
        if live.given_up and live.unanswered == live.unsent:
            for call in live.program.calls:
                live.ends.setdefault(call.id, self._clock.now)
                for waiter in self._waiters.pop(CallRef(live.id, call.id), ()):
                    if waiter.live is not live:
                        self._release(waiter, self._clock.now)
            self._end(live)
        elif not live.unanswered:
            self._end(live)

    def _end(self, live: LiveProgram) -> None:
        program = live.program
        del self._live[program.id]
        self._past[program.id] = live.ends
        if len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
        self._ended(
            ProgramResult(
                program=program.id,
                workflow=program.workflow,
                parent=program.parent,
                arrival=program.arrival_s,
                finished=max(live.ends.values()),
                calls=len(program.calls),
                prompt=live.prompt,
                cached=live.cached,
                output=live.output,
                objective=program.objective_s,
                given_up=live.given_up,
            )
        )

    # --- calls ------------------------------------------------------------------------------------------------------

    def _await(self, live: LiveProgram, call: Call) -> None:
        """Lets a call wait for what it has to wait for."""
        ready, missing = live.program.arrival_s, 0
        for edge in call.after:
            ref = CallRef(edge.program or live.id, edge.call)
            end = self._end_of(ref)
            if end is None:
                missing += 1
                self._waiters.setdefault(ref, []).append(_Waiter(live, call, edge))
            else:
                ready = max(ready, end + edge.gap_s)
        if missing:
            live.missing[call.id], live.ready[call.id] = missing, ready
        else:
            self._send_at(ready, live, call)

    def _end_of(self, ref: CallRef) -> Seconds | None:
        live = self._live.get(ref.program)
        ends = self._past.get(ref.program, {}) if live is None else live.ends
        return ends.get(ref.call)

    def _release(self, waiter: _Waiter, end: Seconds) -> None:
        """One of the edges that the call waits for begins its gap."""
        live, name = waiter.live, waiter.call.id
        live.ready[name] = max(live.ready[name], end + waiter.edge.gap_s)
        live.missing[name] -= 1
        if not live.missing[name]:
            del live.missing[name]
            self._send_at(live.ready.pop(name), live, waiter.call)

    def _send_at(self, ready: Seconds, live: LiveProgram, call: Call) -> None:
        """The request leaves its client at `ready`."""
        self._clock.at(ready + live.legs.client, partial(self._reach_gateway, live, call))

    def _reach_gateway(self, live: LiveProgram, call: Call) -> None:
        if live.given_up:
            return
        live.unsent -= 1
        ratio, now = live.bytes_per_token, self._clock.now
        said = call.said or self._rules.said(call, last=not live.unsent)
        prompt = live.opening(call).then(next(self._contents), call.new_tokens, ratio)
        context = prompt.then(next(self._contents), call.output_tokens, ratio)
        live.remember(call, context)
        self._send(
            LiveCall(
                program=live,
                call=call,
                turn=live.turn(call),
                prompt=prompt,
                content=context.content,
                max_output=said.max_output,
                deadline=_deadline(live.program, said, now),
                final=said.final,
                arrived=now,
            )
        )


def _deadline(program: Program, said: Said, now: Seconds) -> Seconds | None:
    """The program's, as the SDK sends it, or else the call's own."""
    if program.objective_s is not None:
        return max(program.arrival_s + program.objective_s, now + SHORTEST_DEADLINE)
    return None if said.deadline_s is None else now + said.deadline_s


def _check_order(program: Program, previous: Seconds) -> None:
    if program.arrival_s < previous:
        raise WorkloadError(
            f"program {program.id!r} arrives at {program.arrival_s:g} s, but comes after one that arrives at "
            f"{previous:g} s: sort the programs by arrival_s, each with its children behind it"
        )
