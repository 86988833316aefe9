"""Workflows as the configuration declares them: stages, which of them follow which, and the time for the whole."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from agentserve.sections import Count, Duration, Section
from scheduler.plan import Plan, PlannedStage


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
        Plan(self.planned)
        return self

    @property
    def planned(self) -> tuple[PlannedStage, ...]:
        """The stages as the scheduler has them."""
        return tuple(
            PlannedStage(name, tuple(stage.after), stage.parallel, stage.retries) for name, stage in self.stages.items()
        )
