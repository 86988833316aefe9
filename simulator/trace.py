"""A workload that can be replayed many times, checked against the fleet before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from simulator.fleet import EngineModel
from workloads.arrivals import poisson_arrivals
from workloads.program import Program, WorkloadError, check_workload

KEPT_CALLS = 250_000
"""A workload with more calls than this is read anew for each replay instead of being kept in memory."""


class Trace:
    """The programs that `read` yields, which has to yield the same ones each time: by arrival, children after parents."""

    def __init__(self, read: Callable[[], Iterable[Program]], fleet: Sequence[EngineModel]) -> None:
        """Reads all of it once.

        Raises:
            WorkloadError: there are no programs, one does not fit the fleet, or they do not fit together.
        """
        self.programs = 0
        self.calls = 0
        self._read = read
        self._kept: list[Program] | None = []
        for program in check_fits(read(), fleet):
            self.programs += 1
            self.calls += len(program.calls)
            if self.calls > KEPT_CALLS:
                self._kept = None
            elif self._kept is not None:
                self._kept.append(program)
        if not self.programs:
            raise WorkloadError("there are no programs in it")
        if self._kept is not None:
            check_workload(self._kept)

    def __iter__(self) -> Iterator[Program]:
        """The programs, with their recorded arrivals."""
        return iter(self._read() if self._kept is None else self._kept)

    def arriving(self, rate: float | None, seed: int) -> Iterator[Program]:
        """The programs as a Poisson process of `rate` programs per second, or as recorded if that is None.

        A child arrives with its parent.
        """
        return iter(self) if rate is None else poisson_arrivals(self, rate, seed)

    def families(self) -> Iterator[list[Program]]:
        """Each program without a parent, with the children that follow it."""
        family: list[Program] = []
        for program in self:
            if family and program.parent is None:
                yield family
                family = []
            family.append(program)
        yield family


def check_fits(programs: Iterable[Program], fleet: Sequence[EngineModel]) -> Iterator[Program]:
    """Yields the programs, each after a check that every engine can take every one of its calls.

    Raises:
        WorkloadError: one cannot; the message names program, call and engine.
    """
    smallest = min(fleet, key=lambda engine: engine.config.max_model_len)
    limit = smallest.config.max_model_len
    for program in programs:
        prompts = program.prompt_tokens()
        for call in program.calls:
            length = prompts[call.id] + call.output_tokens
            if length > limit:
                raise WorkloadError(
                    f"call {call.id!r} of program {program.id!r} is {length:,} tokens long, but engine "
                    f"{smallest.name} ({smallest.hardware}) takes no more than {limit:,}: scale the programs to a "
                    f"context of {limit:,}, or leave that engine out"
                )
        yield program
