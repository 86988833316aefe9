"""A whole system in virtual time: clients, the gateway with the brain, engines, and the network between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import TextIO, TypeAlias

from simpy.core import EmptySchedule

from scheduler.brain import IDLE_TIMEOUT, Brain
from scheduler.policy import PolicyConfig
from scheduler.types import Seconds
from simulator.client import ClientRules, Clients
from simulator.clock import Clock
from simulator.fleet import EngineModel
from simulator.gateway import Gateway, Mind, SimulationError
from simulator.ledger import Detail, Ledger
from simulator.live import LiveCall
from simulator.log import Logged
from simulator.network import Network
from simulator.result import ProgramResult, Simulation
from simulator.trace import check_fits
from workloads.program import Program

MODEL = "simulated"
"""The name that every engine of a simulation serves."""
NETWORK = Network()
RULES = ClientRules()

OnProgram: TypeAlias = Callable[[ProgramResult], None]


class World:
    """One replay of programs on a fleet."""

    def __init__(
        self,
        programs: Iterable[Program],
        fleet: Sequence[EngineModel],
        mind: Mind,
        *,
        seed: int = 0,
        network: Network = NETWORK,
        rules: ClientRules = RULES,
        detail: Detail | None = None,
        on_program: OnProgram | None = None,
    ) -> None:
        """See `simulate`; `mind` decides."""
        self.clock = Clock()
        self.gateway = Gateway(mind, fleet, self.clock, MODEL)
        self.ledger = Ledger(self.gateway, self.clock, detail)
        self.clients = Clients(
            self.clock, programs, self.gateway.arrive, self._ended, seed=seed, network=network, rules=rules
        )
        self._on_program = on_program
        gap = self.clients.gap if rules.foretell else None
        self.gateway.serve(self._answered, self.clients.tools, gap, self.clients.refused)

    def run(self) -> None:
        """Runs to the last answer.

        Raises:
            SimulationError: calls are left that will never have an answer, or the brain refused one.
            WorkloadError: the programs are not in order, or an id is used twice.
        """
        started = perf_counter()
        step, clients = self.clock.step, self.clients
        try:
            while not clients.done:
                step()
        except EmptySchedule:
            left = [*self.gateway.waiting(), *clients.stuck()]
            raise SimulationError(f"nothing happens any more: {'; '.join(left)}") from None
        self.ledger.wall = perf_counter() - started

    def run_until(self, until: Seconds) -> None:
        """Runs on to the last answer, or to the last thing that happens by then."""
        while not self.clients.done and self.clock.peek() <= until:
            self.clock.step()

    def _answered(self, call: LiveCall) -> None:
        self.ledger.answered(call)
        self.clients.answered(call)

    def _ended(self, program: ProgramResult) -> None:
        self.ledger.ended(program)
        if self._on_program is not None:
            self._on_program(program)


def simulate(
    programs: Iterable[Program],
    fleet: Sequence[EngineModel],
    policy: PolicyConfig,
    *,
    seed: int = 0,
    network: Network = NETWORK,
    rules: ClientRules = RULES,
    idle_timeout: Seconds = IDLE_TIMEOUT,
    detail: Detail | None = None,
    log: TextIO | None = None,
    on_program: OnProgram | None = None,
) -> Simulation:
    """Replays programs on a fleet under a policy.

    Args:
        programs: in the order of their arrivals, children after their parents; read as they arrive, and forgotten
            when they end.
        fleet: the engines, which all serve the same model.
        policy: what the brain runs.
        seed: of everything random: bytes a token, delays, the policies' own choices.
        network: delays between clients, gateway and engines.
        rules: what clients say in their requests.
        idle_timeout: how long a program is silent before the scheduler takes it for ended.
        detail: keeps each call, and samples of each engine; without, only what the figures need.
        log: gets the event log.
        on_program: called when a program has ended.

    Raises:
        OSError: the log cannot be written.
        SimulationError: a call waits for what never comes; the message names it.
        WorkloadError: a call does not fit an engine (of a sequence of programs this is known before anything runs),
            programs are not in order, or an id is used twice.
        PolicyError: the policy names something unknown.
    """
    fitting = check_fits(programs, fleet)
    if isinstance(programs, Sequence):
        fitting = iter(list(fitting))
    brain = Brain(policy, seed=seed, idle_timeout=idle_timeout)
    mind = brain if log is None else Logged(brain, log)
    world = World(fitting, fleet, mind, seed=seed, network=network, rules=rules, detail=detail, on_program=on_program)
    world.run()
    return world.ledger.simulation(policy.name, seed)
