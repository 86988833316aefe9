"""A workload that can be replayed many times, checked against the fleet before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulator.fleet import EngineModel
from simulator.tune.resample import resampled
from workloads.arrivals import poisson_arrivals
from workloads.program import Program, WorkloadError, check_workload
from workloads.redraw import redraw_gaps

KEPT_CALLS = 250_000
"""A workload with more calls than this is read anew for each replay instead of being kept in memory."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed draws anew of a trace; everything else stays as recorded.

    `rate` are the arrivals, as a Poisson process of so many programs a second; `gaps` the times of tools, by
    `redraw_gaps`; `programs` which programs come at the times of arrival, each drawn from all of the trace.
    """

    rate: float | None = None
    gaps: bool = False
    programs: bool = False

    def __str__(self) -> str:
        """What differs from seed to seed, for people. Bytes a token always do, for no trace tells them."""
        drawn = [
            *(["arrivals"] if self.rate is not None else []),
            *(["gaps"] if self.gaps else []),
            *(["programs (each from all of the trace)"] if self.programs else []),
        ]
        return ", ".join([*drawn, "bytes a token"])

    @property
    def changes_programs(self) -> bool:
        """Whether programs themselves differ from seed to seed, and not only when they arrive."""
        return self.gaps or self.programs


AS_RECORDED = Draw()


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
        """The programs as recorded."""
        return iter(self._read() if self._kept is None else self._kept)

    def drawn(self, draw: Draw, seed: int) -> Iterator[Program]:
        """The programs, with what `draw` names drawn anew by the seed. A child arrives with its parent.

        Raises:
            WorkloadError: programs are to be drawn from a trace that is too long to be kept in memory.
        """
        programs = self._resampled(seed) if draw.programs else iter(self)
        if draw.gaps:
            programs = (redraw_gaps(program, seed) for program in programs)
        return programs if draw.rate is None else poisson_arrivals(programs, draw.rate, seed)

    def families(self) -> Iterator[list[Program]]:
        """Each program without a parent, with the children that follow it."""
        return families(self)

    def _resampled(self, seed: int) -> Iterator[Program]:
        if self._kept is None:
            raise WorkloadError(
                f"programs cannot be drawn from a trace of {self.calls:,} calls, of which no more than {KEPT_CALLS:,} "
                "are kept in memory: give --rate, --gaps redrawn or a smaller number of --programs, or one seed"
            )
        return resampled([tuple(family) for family in self.families()], seed)


def families(programs: Iterable[Program]) -> Iterator[list[Program]]:
    """Each program without a parent, with the children that follow it."""
    family: list[Program] = []
    for program in programs:
        if family and program.parent is None:
            yield family
            family = []
        family.append(program)
    if family:
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
