"""What a workflow is declared to be: which stages follow which, and how often. It is believed until traffic tells.

From a call of a stage on, a program makes the calls of the stages that come after it, directly or not. Stages side by
side are one link of the longest chain; a stage that is tried again is, after each try, as likely to be tried once more
as not, up to its declared number of retries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from scheduler.types import Seconds

AGAIN = 0.5
"""The chance of one more try, of which nothing is known."""


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage as it is declared."""

    name: str
    after: tuple[str, ...] = ()
    parallel: int = 1
    """Its calls side by side."""
    retries: int = 0
    """How many more of them may follow, one after the other."""

    def retried(self, made: int) -> float:
        """Further tries that are expected of a program that has made so many calls of the stage."""
        left = self.retries - max(made - self.parallel, 0)
        return sum(AGAIN**number for number in range(1, left + 1))

    @property
    def serial(self) -> float:
        """Its calls one after the other, as they are expected of a program that has made none."""
        return 1 + self.retried(0)


class Plan:
    """The declared stages of one workflow."""

    def __init__(self, stages: Sequence[PlannedStage]) -> None:
        """Puts them in order.

        Raises:
            ValueError: a stage comes after one that is none of them, or after itself by way of others.
        """
        self._stages = {stage.name: stage for stage in stages}
        for stage in stages:
            for before in stage.after:
                if before not in self._stages:
                    known = ", ".join(self._stages)
                    raise ValueError(
                        f"stage {stage.name!r} comes after {before!r}, which is no stage (stages: {known})"
                    )
        try:
            order = list(TopologicalSorter({stage.name: stage.after for stage in stages}).static_order())
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise ValueError(
                f"stages come after each other in a cycle: {cycle}; a stage that is tried again has `retries`"
            ) from None
        self._latest_first = [self._stages[name] for name in reversed(order)]
        self._followers = {stage.name: [other for other in stages if stage.name in other.after] for stage in stages}
        self._later = {stage.name: self._all_after(stage) for stage in self._latest_first}

    def __contains__(self, stage: str) -> bool:
        return stage in self._stages

    def ahead(self, stage: str, number: int, seconds: Callable[[str], Seconds]) -> Seconds:
        """The longest chain of calls after the call of a stage with that number, by what a call of each stage takes."""
        chains: dict[str, Seconds] = {}
        for each in self._latest_first:
            followers = self._followers[each.name]
            chains[each.name] = max(
                (chains[other.name] + other.serial * seconds(other.name) for other in followers), default=0.0
            )
            if each.name == stage:
                break
        return chains[stage] + self._stages[stage].retried(number + 1) * seconds(stage)

    def rest(self, stage: str, number: int, seconds: Callable[[str], Seconds]) -> Seconds:
        """The sum of all calls after it, its siblings that have not come yet among them."""
        here = self._stages[stage]
        siblings = max(here.parallel - number - 1, 0)
        later = sum((each.parallel + each.retried(0)) * seconds(each.name) for each in self._later[stage])
        return later + (siblings + here.retried(number + 1)) * seconds(stage)

    def _all_after(self, stage: PlannedStage) -> list[PlannedStage]:
        """The stages that come after one, directly or not, each once."""
        found: dict[str, PlannedStage] = {}
        waiting = [*self._followers[stage.name]]
        while waiting:
            each = waiting.pop()
            if each.name not in found:
                found[each.name] = each
                waiting += self._followers[each.name]
        return list(found.values())
