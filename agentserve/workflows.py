"""Workflows as the configuration declares them: stages, which of them follow which, and the time for the whole."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Self

from pydantic import Field, model_validator

from agentserve.sections import Count, Duration, Section


class StageSection(Section):
    """A stage: serial behind those that it comes after; two that come after the same one are parallel."""

    after: list[str] = Field(default=[])
    parallel: Count = 1
    """Calls of it that run side by side."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How many more of them may follow, one after the other."""


class WorkflowSection(Section):
    """A workflow, under the name that programs give as theirs."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    slo: Duration | None = None
    """From a program's first call until it should have ended; calls that say no deadline have this one."""
    stages: dict[str, StageSection] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_graph(self) -> Self:
        for name, stage in self.stages.items():
            for before in stage.after:
                if before not in self.stages:
                    known = ", ".join(self.stages)
                    raise ValueError(f"stage {name!r} comes after {before!r}, which is no stage (stages: {known})")
        try:
            TopologicalSorter({name: stage.after for name, stage in self.stages.items()}).prepare()
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise ValueError(
                f"stages come after each other in a cycle: {cycle}; a stage that is tried again has `retries`"
            ) from None
        return self
