"""What the feed costs, in CPU time alone: programs in virtual time, 30 frames for each second of it.

    python -m tests.benchmarks.feed_cost [--programs 2000] [--seconds 20] [--repetitions 3] [--json FILE]

The same events go through the brain and the lives of calls with nobody watching and with a scene whose frames are built,
encoded and handed to four watchers; the difference in the process's CPU time, per second of virtual time, is the share of a
core that the feed takes. Writing to sockets is not in it (see tests.benchmarks.dashboard).
"""

from __future__ import annotations

import argparse
import heapq
import json
import platform
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from agentserve.dashboard.feed import RATE, SLOW, SWEEP, Watching, encoded
from agentserve.dashboard.scene import Scene
from agentserve.gateway.lives import Lives
from scheduler.actions import Dispatch
from scheduler.brain import Brain
from scheduler.events import CallArrived, CallFinished, CallFirstToken, CallSent, EngineUp, Event, Wakeup
from scheduler.policy import PRESETS
from scheduler.types import DEFAULT_TENANT, CallId, EngineId, EngineSpec, PrefixMark, ProgramKey, Usage
from tests.benchmarks.crowd import CONTEXT, PACE

WATCHERS = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """One run. CPU in seconds for each second of virtual time; `bytes` a frame."""

    watched: bool
    cpu: float
    events: float
    frames: int
    bytes: float


class Mill:
    """Programs that never end, each with a call after each gap; the clock is virtual."""

    def __init__(self, programs: int, *, watched: bool) -> None:
        self.random = random.Random(1)
        self.brain = Brain(PRESETS["agentserve"])
        self.lives = Lives([])
        self.now = 0.0
        self.wakeup: float | None = None
        self.events = self.calls = self.frames = self.bytes = 0
        self.due: list[tuple[float, int, Event]] = []
        self.turns: dict[ProgramKey, int] = {}
        self.of: dict[CallId, ProgramKey] = {}
        self.scene: Scene | None = None
        self.watchers = [Watching() for _ in range(WATCHERS)]
        self.swept = self.told = 0.0
        room = int(programs * (CONTEXT + 75 * PACE.turns) * 0.7 / 4) // 32 * 32
        spec = EngineSpec(("m",), room, 32, 65_536, retention=True, priority=True)
        for number in range(4):
            self.handle(EngineUp(0.0, EngineId(f"gpu-{number}"), spec))
        for number in range(programs):
            self.arrive_later(ProgramKey(DEFAULT_TENANT, f"run-{number:05}"))
        if watched:
            self.scene = Scene(self.brain, 0.0)
            self.lives.watch(self.scene)

    def later(self, event: Event) -> None:
        self.calls += 1
        heapq.heappush(self.due, (event.at, self.calls, event))

    def after(self, mean: float) -> float:
        return self.now + self.random.expovariate(1 / mean)

    def arrive_later(self, key: ProgramKey) -> None:
        turn = self.turns[key] = self.turns.get(key, 0) % (2 * PACE.turns) + 1
        tokens = CONTEXT + 150 * turn
        marks = tuple(PrefixMark(hash((key.program, number)), 600 * number) for number in range(1, turn + 1))
        call = CallId(f"call-{self.calls}")
        self.of[call] = key
        size = max(4 * tokens, 600 * turn)
        self.later(CallArrived(self.after(PACE.gap), call, key, "m", size, marks, tokens, workflow="swe"))

    def handle(self, event: Event) -> None:
        self.events += 1
        decision = self.brain.handle(event)
        self.lives.record(event, decision)
        if self.scene is not None:
            self.scene.record(event, decision)
        self.wakeup = decision.next_wakeup
        for action in decision.actions:
            if isinstance(action, Dispatch):
                self.later(CallSent(self.now, action.call))
                self.later(CallFirstToken(self.after(PACE.prefill), action.call))

    def step(self, until: float) -> None:
        """Lets everything happen that is due."""
        while True:
            first = self.due[0][0] if self.due else until
            wake = until if self.wakeup is None else self.wakeup
            if min(first, wake) >= until:
                break
            if wake < first:
                self.now = max(self.now, wake)
                self.handle(Wakeup(self.now))
                continue
            self.now, _, event = heapq.heappop(self.due)
            self.handle(event)
            if isinstance(event, CallFirstToken):
                tokens = CONTEXT + 150 * self.turns[self.of[event.call]]
                self.later(CallFinished(self.after(PACE.decode), event.call, Usage(tokens, 120, tokens - 150)))
            elif isinstance(event, CallFinished):
                self.arrive_later(self.of.pop(event.call))
        self.now = until

    def frame(self) -> None:
        """What the feed does 30 times a second."""
        if self.scene is None:
            return
        if self.now - self.swept >= SWEEP:
            self.scene.sweep(self.now)
            self.swept = self.now
        frame = self.scene.changes(self.now)
        if self.now - self.told >= SLOW:
            frame |= self.scene.slow_figures()
            self.told = self.now
        event = encoded(frame)
        self.frames += 1
        self.bytes += len(event)
        for watching in self.watchers:
            watching.behind = False
            watching.give(event)


def run(programs: int, seconds: float, *, watched: bool) -> Cost:
    """One run, after a while in which the programs spread over all states."""
    mill = Mill(programs, watched=watched)
    mill.step(2 * PACE.gap)
    mill.frame()
    events, frames, size, cpu = mill.events, mill.frames, mill.bytes, time.process_time()
    begin = mill.now
    for number in range(1, int(seconds * RATE) + 1):
        mill.step(begin + number / RATE)
        mill.frame()
    cpu = time.process_time() - cpu
    frames = mill.frames - frames
    return Cost(watched, cpu / seconds, (mill.events - events) / seconds, frames, (mill.bytes - size) / max(frames, 1))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = [
        run(arguments.programs, arguments.seconds, watched=watched)
        for _ in range(arguments.repetitions)
        for watched in (False, True)
    ]
    alone, watched = (median(each.cpu for each in runs if each.watched is kind) for kind in (False, True))
    print(f"brain and lives alone {100 * alone:.1f} % of a core, with the feed {100 * watched:.1f} %")  # noqa: T201
    print(f"the feed: {100 * (watched - alone):.1f} % of a core at {RATE} frames a second")  # noqa: T201
    if arguments.json:
        figures = {
            "programs": arguments.programs,
            "python": platform.python_version(),
            "feed_share_of_a_core": watched - alone,
            "runs": [asdict(each) for each in runs],
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
