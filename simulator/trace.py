"""A workload that can be replayed many times, checked against the fleet before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from simulator.fleet import EngineModel
from workloads.arrivals import poisson_arrivals
from workloads.program import Program, WorkloadError, check_workload

_arrival = attrgetter("arrival_s")

KEPT_CALLS = 250_000
"""A workload with more calls than this is read anew for each replay instead of being kept in memory."""


class Trace:
    """The programs that `read` yields, which has to yield the same ones each time."""

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
            self._kept.sort(key=_arrival)

    def __iter__(self) -> Iterator[Program]:
        """The programs, in the order of their recorded arrivals."""
        return iter(self._read() if self._kept is None else self._kept)

    def arriving(self, rate: float | None, seed: int) -> Iterator[Program]:
        """The programs as a Poisson process of `rate` programs per second, or as recorded if that is None.

        A child arrives with its parent. One that is kept in memory need not follow it directly.
        """
        if rate is None:
            return iter(self)
        redrawn = poisson_arrivals(self, rate, seed)
        return redrawn if self._kept is None else iter(sorted(redrawn, key=_arrival))

    def families(self) -> Iterator[list[Program]]:
        """The programs that wait for each other, or are parents of each other, together.

        Raises:
            WorkloadError: the workload is too large to be kept in memory.
        """
        if self._kept is None:
            raise WorkloadError(f"it has {self.calls:,} calls; families can be told apart in up to {KEPT_CALLS:,}")
        head: dict[str, str] = {}
        for program in self._kept:
            relatives = {edge.program for call in program.calls for edge in call.after if edge.program}
            for other in relatives | ({program.parent} if program.parent else set()):
                head[_head(head, other)] = _head(head, program.id)
        families: dict[str, list[Program]] = {}
        for program in self:
            families.setdefault(_head(head, program.id), []).append(program)
        yield from families.values()


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


def _head(head: Mapping[str, str], name: str) -> str:
    """The one that stands for all relatives of `name`."""
    while head.get(name, name) != name:
        name = head[name]
    return name
