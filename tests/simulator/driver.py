"""Drives an engine in virtual time."""

from __future__ import annotations

from simulator.content import Extent
from simulator.engine import Engine, EngineConfig
from simulator.profile import StepProfile
from simulator.request import Output, Request

SECOND = StepProfile("second", "one second a step, whatever it does", constant=1.0)
SMALL = EngineConfig(num_blocks=8, block_size=4, max_model_len=32, max_num_seqs=4, max_num_batched_tokens=16)


def request(
    name: str,
    extents: list[tuple[int, int]],
    output: int = 1,
    *,
    answer: int | None = None,
    priority: int = 0,
    program: str = "",
    rank: int | None = None,
    ttl: float = 0.0,
    quiet: int = 0,
) -> Request:
    """A request for `output` tokens; its answer is the content `answer` (its own if None)."""
    context = [*extents, (hash(tuple(map(ord, name))) if answer is None else answer, output)]
    return Request(
        id=name,
        prompt_tokens=sum(length for _, length in extents),
        output_tokens=output,
        content=tuple(Extent(*extent) for extent in context),
        priority=priority,
        program=program,
        rank=rank,
        ttl=ttl,
        quiet=quiet,
    )


class Drive:
    """An engine and its virtual clock."""

    def __init__(
        self, config: EngineConfig = SMALL, profile: StepProfile = SECOND, engine: Engine | None = None
    ) -> None:
        self.engine = engine or Engine(config, profile)
        self.now = 0.0
        self.next: float | None = None
        self.outputs: list[tuple[float, Output]] = []

    def add(self, *requests: Request) -> None:
        for item in requests:
            self.engine.add(item, self.now)

    def step(self) -> tuple[Output, ...]:
        """Goes on to the end of the step under way (or begins one) and returns what it produced."""
        if self.next is not None:
            self.now = self.next
        result = self.engine.step(self.now)
        self.next = result.next_time
        self.outputs += [(self.now, output) for output in result.outputs]
        self.engine.check_integrity()
        return result.outputs

    def run(self) -> None:
        """Steps until the engine is idle."""
        self.step()
        while self.next is not None:
            self.step()

    def serve(self, *requests: Request) -> list[Output]:
        """Adds the requests, runs until idle, and returns their last outputs in the order they ended."""
        self.add(*requests)
        self.run()
        names = {item.id for item in requests}
        return [output for _, output in self.outputs if output.finished and output.request in names]

    def wait(self, seconds: float) -> None:
        self.now += seconds
