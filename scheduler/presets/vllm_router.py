"""Progress-TTL, the program scheduling of vllm-router 0.1.16 (its Rust sources), a rule of placement and admission."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from scheduler.admission.base import Admission, Occasion, Ruling, Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.listener import Listener
from scheduler.policy import PolicyError, unknown
from scheduler.presets import ring
from scheduler.presets.progress import RELEASED_DECODE, RELEASED_PREFILL, Served, Windows, decode_rate
from scheduler.presets.progress_books import Entry, Load, Memory, Target, Track
from scheduler.state import Call, EngineState, Program
from scheduler.types import EngineId, ProgramKey, Seconds, StepCost, Tokens, Usage
from scheduler.view import View

BINDINGS = ("cache_aware", "consistent_hash", "least_programs", "most_free", "round_robin")
CONTINUED = 0.9
"""A call that finds this share of its program's previous context cached goes on with it."""
STALE_COLD: Seconds = 100.0
"""Until there are calls enough to tell, a program's KV is thought gone this long after it was paused."""
DEADLINE_FACTOR = 3.0
"""A call may wait for so many times as long as the rounds before it should take."""


@dataclass(frozen=True, slots=True)
class VllmRouter(Unlimited, Listener):
    """Programs are bound to an engine at first, and are active or paused there. Both kinds have to name this rule.

    An active program's calls go at once, and its private tokens (its context without what it shares, and `buffer` for
    an answer) count as used in its gaps too, for a time-to-live after each answer (`progress`). When that runs out the
    program is paused, and asks for admission with its next call. Each engine has a queue of its own: programs whose
    deadline has passed, then those that have not just yielded, then the one that was answered most recently.

    A paused program is admitted if its deadline has passed, or if

        usage + private <= low * C    and    usage + private + g * (R + Q) <= low * C

    with g the mean growth of a prompt, R = min(max(ceil(2 * mean rounds until a time-to-live runs out), 1), max_rounds)
    and Q what the active programs have left of their R rounds. The second condition is waived where decoding in a
    larger batch gains more than restoring its context costs, with the rounds that the others lose. Nobody is admitted
    while requests wait inside the engine.

    If usage + mean output * calls grows beyond high * C, programs are paused until it is below low * C (those with
    a call there, after it): first those with the highest segment age * max(1 / sqrt(context / mean prompt), 1/2).
    A program with `max_rounds` rounds behind it is paused after its call if another waits there.

    What differs from the source: a call that has waited for `queue_timeout` is sent and does not fail; ends of programs
    are known at once; hints of priority and of a time-to-live do not exist here, and a call's deadline is taken for
    the hint of one; context sizes are the brain's estimates; a call that another engine did not take enters the next
    one without asking; the queue across engines, off in the source, is left out. A scrape counts requests that wait
    inside the engine only as long as a call sent before it has no first token, since scrapes come at longer intervals
    than the source's one second. As in the source, an engine is not told of any of this: it evicts as it likes.

    Attributes:
        binding: how a new program's engine is chosen, one of `BINDINGS`. `cache_aware` takes the largest
            (1 + share of the footprint that is there already) * (1 - usage / C) among engines that would admit it.
        window: calls, gaps and pauses of an engine that are remembered; nothing is fitted until there are so many.
        max_ttl: longest time-to-live, in seconds.
        max_rounds: most rounds that memory is granted for.
        max_programs: most active programs of an engine.
        buffer: tokens reserved for an answer.
        low: share of the engine's KV tokens up to which programs are admitted, and paused.
        high: share of them beyond which programs are paused.
        sized: the rule knows the engine's capacity; without it, as the source is released, it only counts programs.
        recent_first: the program that was answered most recently goes first, in place of the one that waits longest.
        alpha: restoring costs 2 - alpha times a prefill.
        profiled: costs are those of the engine's profile, in place of the source's coefficients.
        min_force: shortest wait until a program's deadline, in seconds.
        max_force: longest such wait, also while there are too few calls to tell.
        queue_timeout: longest wait of a call.
        fresh: seconds for which a scrape counts, three of the source's intervals.
        period: seconds between ticks.

    Raises:
        PolicyError: `binding` is none of `BINDINGS`.
    """

    binds: ClassVar[bool] = True

    binding: str = "cache_aware"
    window: int = 100
    max_ttl: float = 10.0
    max_rounds: int = 14
    max_programs: int = 64
    buffer: int = 100
    low: float = 1.0
    high: float = 1.0
    sized: bool = True
    recent_first: bool = True
    alpha: float = 0.15
    profiled: bool = True
    min_force: float = 30.0
    max_force: float = 300.0
    queue_timeout: float = 600.0
    fresh: float = 3.0
    period: float = 1.0
    _memory: Memory = field(init=False, default_factory=Memory, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.binding not in BINDINGS:
            raise unknown("binding", self.binding, list(BINDINGS))
        if self.window < 1:
            raise PolicyError(f"window must be at least 1, not {self.window}")

    # --- placement --------------------------------------------------------------------------------------------------

    def choose(self, view: View, call: Call, engines: Sequence[EngineState], admission: Admission) -> EngineState:
        if len(engines) == 1:
            return engines[0]
        target = self._track(view, call.program).target
        bound = next((engine for engine in engines if engine.id == target), None)
        return bound or self._bind(view, call, engines)

    def _bind(self, view: View, call: Call, engines: Sequence[EngineState]) -> EngineState:
        memory = self._memory
        match self.binding:
            case "consistent_hash":
                name = ring.owner(str(call.program.key), tuple(engine.id for engine in engines))
                return next(engine for engine in engines if engine.id == name)
            case "least_programs":
                targets = [track.target for track in memory.tracks.values()]
                return min(engines, key=lambda engine: targets.count(engine.id))
            case "most_free":
                return max(engines, key=lambda engine: engine.account.capacity - self._load(view, engine).usage)
            case "round_robin":
                memory.turns += 1
                return engines[(memory.turns - 1) % len(engines)]
            case _:
                return self._warmest(view, call, engines)

    def _warmest(self, view: View, call: Call, engines: Sequence[EngineState]) -> EngineState:
        """Where most of the call is cached and memory is freest; engines that would admit it before all others."""
        track = self._track(view, call.program)

        def worth(engine: EngineState) -> tuple[bool, float]:
            load = self._load(view, engine)
            admits = not self._backed_up(view, engine) and self._fits(view, load, track)
            affinity = 1 - engine.account.added_by(call.held) / max(call.held.tokens, 1)
            return admits, (1 + affinity) * (1 - load.usage / load.capacity)

        return max(engines, key=worth)

    # --- admission --------------------------------------------------------------------------------------------------

    def holds(self, view: View, call: Call) -> bool:
        return not call.program.member

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        return Verdict.STOP  # reviews admit

    def longest_wait(self, view: View, call: Call) -> Seconds:
        return self.queue_timeout

    def stays(self, view: View, program: Program, ttl: Seconds) -> Seconds:
        return 0.0 if self._track(view, program).activated is None else math.inf

    def review(self, view: View, waiting: Sequence[Call], occasion: Occasion) -> Iterator[Ruling]:
        memory = self._memory
        names = tuple(view.engines) if occasion is Occasion.TICK else tuple(memory.touched)
        finished, memory.finished = memory.finished, None
        memory.touched.clear()
        for name in names:
            engine = view.engines.get(name)
            if engine is not None:
                queue = _programs(waiting, engine)
                yield from self._expire(view, engine)
                if finished is not None and queue:
                    yield from self._yield_segment(view, engine, finished, queue)
                yield from self._settle(view, engine, queue)

    def _expire(self, view: View, engine: EngineState) -> Iterator[Ruling]:
        """Pauses programs in their gaps that are marked, or whose time-to-live has run out."""
        for program in tuple(engine.members.values()):
            if program.calls:
                continue
            track = self._track(view, program)
            if track.marked:
                yield self._pause(view, program)
            elif track.until <= view.now:
                self._target(engine.id).windows.add_pause(track.rounds_since_expiry)
                track.rounds_since_expiry = 0
                yield self._pause(view, program)

    def _yield_segment(
        self, view: View, engine: EngineState, finished: Program, queue: Sequence[Program]
    ) -> Iterator[Ruling]:
        """Pauses the program just answered if it has had its rounds, and others do not make room enough already."""
        if not finished.member or finished.calls or finished.engine != engine.id:
            return
        track = self._track(view, finished)
        if track.rounds < self.max_rounds:
            return
        waiter = min(queue, key=lambda program: self._place(view, program))
        if self._private(self._track(view, waiter)) > self._load(view, engine).promised:
            ruling = self._pause(view, finished)
            track.yielded = True
            yield ruling

    def _settle(self, view: View, engine: EngineState, queue: list[Program]) -> Iterator[Ruling]:
        """Makes room if too much is used, admits who passes, and enters what is so then in the ledger."""
        load = self._load(view, engine)
        if self.sized and load.projected > self.high * load.capacity:
            yield from self._repair(view, load)
            load = self._load(view, engine)
        while (program := self._next(view, load, queue)) is not None:
            queue.remove(program)
            yield Ruling(program, engine)
            load = self._load(view, engine)
        self._target(engine.id).note(load.entry)

    def _repair(self, view: View, load: Load) -> Iterator[Ruling]:
        """Pauses programs, or marks those with a call there, until what is used and soon will be fits."""
        projected = load.projected
        for program in self._victims(view, load):
            if projected <= self.low * load.capacity:
                return
            track = self._track(view, program)
            projected -= self._private(track)
            if program.calls:
                projected -= load.windows.means.output
                track.marked = True
            else:
                yield self._pause(view, program)

    def _victims(self, view: View, load: Load) -> list[Program]:
        """Programs to pause, the first first: those whose segment is oldest, by half at most for a long context."""
        usual = load.windows.means.prompt

        def score(program: Program) -> tuple[float, float, ProgramKey]:
            track = self._track(view, program)
            age = view.now - (view.now if track.activated is None else track.activated)
            size = track.context / usual if usual else 1.0
            worth = age * max(1 / math.sqrt(max(size, 1e-6)), 0.5)
            return -worth, -self._private(track), program.key

        members = load.engine.members.values()
        return sorted((program for program in members if not self._track(view, program).marked), key=score)

    def _next(self, view: View, load: Load, queue: Sequence[Program]) -> Program | None:
        if not queue or self._backed_up(view, load.engine):
            return None
        passing = [program for program in queue if self._passes(view, load, program)]
        return min(passing, key=lambda program: self._place(view, program), default=None)

    def _passes(self, view: View, load: Load, program: Program) -> bool:
        track = self._track(view, program)
        return program.member or track.forced_at <= view.now or self._fits(view, load, track)

    def _place(self, view: View, program: Program) -> tuple[bool, bool, float, float, ProgramKey]:
        """The program's place in its engine's queue."""
        track = self._track(view, program)
        recent = math.inf if track.completed is None else -track.completed
        return (
            track.forced_at > view.now,
            track.yielded,
            recent if self.recent_first else 0.0,
            track.entered,
            program.key,
        )

    def _backed_up(self, view: View, engine: EngineState) -> bool:
        """Whether requests wait inside the engine, as far as a scrape can tell."""
        if not engine.queued or view.now - engine.scraped >= self.fresh:
            return False
        return any(call.first_token is None and call.dispatched <= engine.scraped for call in engine.running.values())

    def _fits(self, view: View, load: Load, track: Track) -> bool:
        """Whether there is room for a program, now and for the rounds that are granted."""
        if load.active >= self.max_programs:
            return False
        if not self.sized:
            return True
        room = self.low * load.capacity - load.usage - self._private(track)
        if room < 0:
            return False
        reserve = load.windows.means.growth * (load.granted + load.protected)
        return room >= reserve or self._gains(view, load, track, room)

    def _gains(self, view: View, load: Load, track: Track, room: float) -> bool:
        """Whether a larger batch gains more than the program's restoring costs, and others lose by its growth."""
        batch, means = load.entry.reasoning, load.windows.means
        if not (batch and load.windows.full):
            return False
        steps = self._steps(load.engine)
        rate = decode_rate(steps, batch, load.context)
        larger = decode_rate(steps, batch + 1, load.context + track.context)
        gain = (means.decode or batch * means.output / rate) * max(0.0, larger / rate - 1)
        cost = self._restore(view, load.engine, max(0, track.context - track.shared))
        return gain >= cost + self._loss(load, room, room + self._private(track))

    def _loss(self, load: Load, room: float, room_before: float) -> Seconds:
        """What active programs lose of their rounds, in seconds of restoring, if only `room` is left to grow into."""
        growth = load.windows.means.growth
        if growth <= 0 or not load.protected:
            return 0.0
        before = min(load.protected, room_before / growth)
        after = min(load.protected, max(0.0, room - growth * load.granted) / growth)
        return math.inf if after <= 0 else (before - after) / after * load.restore

    # --- what is written down ---------------------------------------------------------------------------------------

    def call_arrived(self, view: View, call: Call) -> None:
        program, track = call.program, self._track(view, call.program)
        if program.member and program.engine is not None:
            self._memory.touched[program.engine] = None
        elif track.activated is not None:
            track.pause(view.now)  # its engine was lost
        track.observe(call.prompt)

    def call_bound(self, view: View, call: Call, engine: EngineState) -> None:
        program, track = call.program, self._track(view, call.program)
        self._memory.touched[engine.id] = None
        if track.target not in (None, engine.id):
            track.pause(view.now)
        track.target = engine.id
        others = any(other.engine is None and other is not call for other in program.calls.values())
        if not (program.member or others):
            track.entered = view.now
            track.forced_at = self._deadline(view, call, engine)

    def _deadline(self, view: View, call: Call, engine: EngineState) -> Seconds:
        """When the program goes whether it fits or not, as of now."""
        if call.deadline is not None:
            return min(call.deadline, view.now + self.queue_timeout)
        load = self._load(view, engine)
        rate = load.windows.means.rate
        wait = self.max_force
        if load.windows.full and rate > 0:
            ahead = self._ahead(view, call.program, engine.id) * max(load.granted, 1)
            wait = DEADLINE_FACTOR * (load.outstanding + ahead) / rate
        return view.now + min(max(wait, min(self.min_force, self.max_force)), self.max_force, self.queue_timeout)

    def _ahead(self, view: View, newcomer: Program, engine: EngineId) -> int:
        """How many other programs wait for the engine."""
        return sum(
            any(call.bound == engine and call.engine is None for call in program.calls.values())
            for program in view.programs.values()
            if program is not newcomer and not program.member
        )

    def call_dispatched(self, view: View, call: Call, engine: EngineState) -> None:
        track = self._track(view, call.program)
        track.target = engine.id
        if track.activated is None:
            track.activate(view.now)

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        program, track = call.program, self._track(view, call.program)
        cached = _cached(call, usage, track.last_context)
        continued = cached >= CONTINUED * track.last_context
        if track.completed is None or (track.fresh and not continued and self._is_stale(call, track, engine)):
            track.shared = cached
        track.fresh = False
        track.rounds += continued
        track.rounds_since_expiry += continued
        windows = self._target(engine.id).windows
        windows.add_call(_served(view, call, usage, cached, track))
        track.last_prompt, track.last_context = usage.prompt, usage.prompt + usage.output
        track.completed = view.now
        track.observe(track.last_context)
        track.restore = self._restore(view, engine, usage.prompt - min(track.shared, usage.prompt))
        if program.calls:
            track.marked = False
        else:
            track.until = view.now + windows.ttl(track.restore, self.max_ttl)
        self._memory.finished = program
        self._memory.touched[engine.id] = None

    def _is_stale(self, call: Call, track: Track, engine: EngineState) -> bool:
        """Whether the program was paused for so long that others have used all the engine's memory since."""
        windows = self._target(engine.id).windows
        longest = STALE_COLD
        if windows.full:
            reasoning = sum(bool(program.calls) for program in engine.members.values())
            turnover = max(reasoning, 1) * windows.means.uncached
            longest = 2 * engine.account.capacity * windows.means.seconds / turnover if turnover else math.inf
        return call.dispatched - track.paused >= longest

    def call_dropped(self, view: View, call: Call) -> None:
        program, track = call.program, self._track(view, call.program)
        if track.target is not None:
            self._memory.touched[track.target] = None
        if track.activated is not None and not (program.member and program.calls):
            track.pause(view.now)

    def gap_ended(self, view: View, program: Program, gap: Seconds) -> None:
        target = self._track(view, program).target
        if target is not None:
            self._target(target).windows.add_gap(gap)

    def program_ended(self, view: View, program: Program) -> None:
        self._memory.tracks.pop(program.key, None)

    def _pause(self, view: View, program: Program) -> Ruling:
        self._track(view, program).pause(view.now)
        return Ruling(program, None)

    # --- what it decides by -----------------------------------------------------------------------------------------

    def _track(self, view: View, program: Program) -> Track:
        track = self._memory.tracks.get(program.key)
        if track is None:
            track = self._memory.tracks[program.key] = Track(
                target=program.engine,
                context=program.context,
                last_context=program.context,
                completed=program.last_seen if program.served else None,
                activated=view.now if program.member else None,
            )
        return track

    def _target(self, engine: EngineId) -> Target:
        target = self._memory.targets.get(engine)
        if target is None:
            target = self._memory.targets[engine] = Target(Windows(self.window))
        return target

    def _private(self, track: Track) -> Tokens:
        return max(0, track.context - track.shared) + self.buffer

    def _load(self, view: View, engine: EngineState) -> Load:
        target = self._target(engine.id)
        granted = target.windows.rounds_ahead(self.max_rounds)
        reasoning = context = busy = resting = protected = outstanding = marked = promised = 0
        restores: list[Seconds] = []
        for program in engine.members.values():
            track = self._track(view, program)
            left = max(0, granted - track.rounds)
            protected += left
            marked += track.marked
            promised += self._private(track) if track.marked else 0
            if left and track.restore is not None:
                restores.append(track.restore)
            if program.calls:
                reasoning += 1
                context += track.context
                busy += self._private(track)
                outstanding += max(left, 1)
            else:
                resting += self._private(track)
                outstanding += left
        entry = Entry(view.now, reasoning, busy, resting)
        usage = target.usage(engine, entry, self.fresh)
        restore = sum(restores) / len(restores) if restores else 0.0
        return Load(
            engine=engine,
            windows=target.windows,
            entry=entry,
            usage=usage,
            active=len(engine.members),
            marked=marked,
            promised=promised,
            context=context,
            granted=granted,
            protected=protected,
            outstanding=outstanding,
            restore=restore,
        )

    def _steps(self, engine: EngineState) -> StepCost:
        return engine.spec.steps if self.profiled else RELEASED_DECODE

    def _restore(self, view: View, engine: EngineState, tokens: Tokens) -> Seconds:
        """I(tokens), what it costs to have them in the engine's memory again."""
        prefill = view.cold_prefill(engine, tokens) if self.profiled else RELEASED_PREFILL.prefill(tokens)
        return prefill * (2 - self.alpha)


def _programs(waiting: Sequence[Call], engine: EngineState) -> list[Program]:
    """The programs that wait for the engine."""
    calls = (call for call in waiting if call.bound == engine.id and call.engine is None)
    return list({call.program.key: call.program for call in calls}.values())


def _cached(call: Call, usage: Usage, last_context: Tokens) -> Tokens:
    """Prompt tokens that the engine had; where it does not say, all of the context that the prompt extends."""
    if usage.cached is not None:
        return usage.cached
    return min(last_context, usage.prompt) if call.extends else 0


def _served(view: View, call: Call, usage: Usage, cached: Tokens, track: Track) -> Served:
    growth = usage.prompt - track.last_prompt if track.last_prompt else 0
    return Served(
        prompt=usage.prompt,
        uncached=usage.prompt - cached,
        output=usage.output,
        seconds=view.now - call.dispatched,
        decode=view.now - call.first_token if call.first_token is not None else 0.0,
        growth=growth if 0 < growth < track.last_context else 0,
        finished=view.now,
    )
