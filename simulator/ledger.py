"""The ledger of a simulation: what the figures and the plots need, entered as it happens."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from scheduler.actions import Release
from scheduler.brain import Decision
from scheduler.events import Event, PinOutcome, PinReported
from scheduler.types import EngineId, Seconds, Tokens
from simulator.clock import Clock
from simulator.gateway import Gateway
from simulator.live import LiveCall
from simulator.result import CallResult, Cost, EngineResult, EngineSample, Holding, ProgramResult, Simulation, Waits
from simulator.station import Station

MAX_SAMPLES = 2000
"""Samples an engine; when there are more, every other one goes, and the next ones come half as often."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What to keep beyond the figures: every call, and samples of each engine, at most one every `every` seconds."""

    every: Seconds = 1.0


@dataclass(slots=True)
class _Samples:
    """One engine's samples."""

    every: Seconds
    taken: list[EngineSample] = field(default_factory=list)
    due: Seconds = 0.0

    def add(self, sample: EngineSample) -> None:
        self.taken.append(sample)
        if len(self.taken) > MAX_SAMPLES:
            del self.taken[1::2]
            self.every *= 2
        self.due = sample.at + self.every


class Ledger:
    """Everything that is known when a simulation is over."""

    def __init__(self, gateway: Gateway, clock: Clock, detail: Detail | None) -> None:
        self.wall = 0.0
        self._gateway = gateway
        self._clock = clock
        self._programs: list[ProgramResult] = []
        self._waits = Waits()
        self._calls: list[CallResult] | None = None
        self._samples: dict[EngineId, _Samples] = {}
        self._retained: defaultdict[EngineId, dict[str, Tokens]] = defaultdict(dict)
        if detail is not None:
            self._calls = []
            self._samples = {name: _Samples(detail.every) for name in gateway.stations}
            gateway.listen(self._note)
            for station in gateway.stations.values():
                station.after_step = self._sample

    def ended(self, program: ProgramResult) -> None:
        """A program's last answer has arrived."""
        self._programs.append(program)

    def answered(self, call: LiveCall) -> None:
        """A call's last token is at the gateway."""
        self._waits.add(call.turn, call.dispatched - call.arrived, call.first_token - call.arrived)
        if self._calls is not None:
            self._calls.append(
                CallResult(
                    program=call.program.id,
                    call=call.call.id,
                    turn=call.turn,
                    stage=call.call.stage,
                    engine=call.engine,
                    arrived=call.arrived,
                    dispatched=call.dispatched,
                    first_token=call.first_token,
                    finished=self._clock.now,
                    prompt=call.prompt.tokens,
                    cached=call.cached,
                    output=call.call.output_tokens,
                )
            )

    def simulation(self, policy: str, seed: int) -> Simulation:
        """What it all came to."""
        stations = self._gateway.stations.values()
        return Simulation(
            policy=policy,
            seed=seed,
            programs=tuple(self._programs),
            engines=tuple(self._engine(station) for station in stations),
            waits=self._waits,
            makespan=self._makespan(),
            cost=Cost(
                wall=self.wall,
                brain=self._gateway.seconds,
                engines=sum(station.seconds for station in stations),
                events=self._clock.count,
                brain_events=self._gateway.events,
                engine_steps=sum(station.steps for station in stations),
            ),
            calls=tuple(self._calls or ()),
        )

    def _makespan(self) -> Seconds:
        """From the first arrival to the last answer."""
        begin = min((program.arrival for program in self._programs), default=0.0)
        return max((program.finished for program in self._programs), default=0.0) - begin

    def _engine(self, station: Station) -> EngineResult:
        return EngineResult(
            name=station.model.name,
            hardware=station.model.hardware,
            kv_tokens=station.model.config.kv_tokens,
            calls=station.calls,
            preemptions=station.engine.preemptions,
            busy=station.busy,
            pins=dict(station.engine.retention.counters),
            samples=tuple(self._samples[station.id].taken) if self._samples else (),
            modelled=station.model.modelled,
        )

    # --- detail -----------------------------------------------------------------------------------------------------

    def _note(self, event: Event, decision: Decision) -> None:
        """Follows what the pins hold."""
        match event:
            case PinReported(outcome=PinOutcome.APPLIED | PinOutcome.BROKEN) if event.tokens:
                self._retained[event.engine][event.program.program] = event.tokens
            case PinReported():
                self._retained[event.engine].pop(event.program.program, None)
        for action in decision.actions:
            if isinstance(action, Release):
                self._retained[action.engine].pop(action.program.program, None)

    def _sample(self, station: Station) -> None:
        """Takes a sample if it is time for one, or the engine has become idle."""
        samples = self._samples[station.id]
        if self._clock.now < samples.due and not station.idle:
            return
        pulse = station.pulse()
        for name, produced in pulse.outputs:
            self._gateway.live[name].produced = produced
        samples.add(
            EngineSample(
                at=self._clock.now,
                running=pulse.running,
                waiting=pulse.waiting,
                held=self._gateway.held,
                kv_running=pulse.kv_used,
                kv_retained=pulse.retained or 0,
                programs=self._holdings(station),
            )
        )

    def _holdings(self, station: Station) -> tuple[Holding, ...]:
        running: dict[str, Tokens] = defaultdict(int)
        for call in self._gateway.live.values():
            if call.engine == station.id and call.produced:
                running[call.program.id] += call.prompt.tokens + call.produced
        retained = self._retained[station.id]
        names = sorted(running.keys() | retained.keys())
        return tuple(Holding(name, running.get(name, 0), retained.get(name, 0)) for name in names)
