"""Workflows as operators see them: what is declared of each, and what was learned from its traffic."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from agentserve.workflows import StageSection, WorkflowSection
from scheduler.average import Average
from scheduler.types import DEFAULT_TENANT, Seconds, TenantId
from scheduler.workflows import ANY, StageKey, StageStats


class StageReport(BaseModel):
    """A stage. Figures are means of what was seen lately, and null where nothing was."""

    stage: str
    declared: bool
    after: list[str] = Field(description="The stages that it is declared to come after.")
    parallel: int | None = Field(description="Its calls side by side, as declared.")
    retries: int | None = Field(description="How many more may follow one after the other, as declared.")
    calls: int = Field(description="Calls that were answered.")
    repeats: dict[int, float] = Field(
        description="Shares of programs that come to it, by how many calls of it they make."
    )
    output_tokens: float | None
    template_tokens: float | None = Field(description="What prompts of different programs begin with in common.")
    alone_seconds: Seconds | None = Field(description="A call on the fastest engine while nothing else runs there.")
    ahead_seconds: Seconds | None = Field(description="What programs still need after a call of it, at least.")
    service_seconds: dict[str, Seconds] = Field(description="From dispatch to the last token, by engine.")


class WorkflowReport(BaseModel):
    """A workflow of a tenant."""

    tenant: str
    workflow: str
    slo_seconds: Seconds | None
    stages: list[StageReport]


def report_workflows(
    declared: Mapping[str, WorkflowSection], learned: Mapping[StageKey, StageStats]
) -> list[WorkflowReport]:
    """Those declared first, each of them for every tenant that was seen with it; stages in the order of their file."""
    seen = {(tenant, workflow): None for tenant, workflow, _ in learned}
    used = {workflow for _, workflow in seen}
    unused = [(DEFAULT_TENANT, name) for name in declared if name not in used]
    keys = sorted([*seen, *unused], key=lambda key: key[1] not in declared)
    return [_workflow(tenant, name, declared.get(name), learned) for tenant, name in keys]


def _workflow(
    tenant: TenantId, name: str, declared: WorkflowSection | None, learned: Mapping[StageKey, StageStats]
) -> WorkflowReport:
    plans = {} if declared is None else declared.stages
    stats = {stage: found for (whose, workflow, stage), found in learned.items() if (whose, workflow) == (tenant, name)}
    stages = [_stage(stage, plans.get(stage), stats.get(stage, StageStats())) for stage in {**plans, **stats}]
    return WorkflowReport(
        tenant=tenant, workflow=name, slo_seconds=None if declared is None else declared.slo, stages=stages
    )


def _stage(name: str, plan: StageSection | None, stats: StageStats) -> StageReport:
    programs = sum(stats.repeats.values())
    return StageReport(
        stage=name,
        declared=plan is not None,
        after=[] if plan is None else plan.after,
        parallel=None if plan is None else plan.parallel,
        retries=None if plan is None else plan.retries,
        calls=stats.output.count,
        repeats={calls: count / programs for calls, count in sorted(stats.repeats.items())},
        output_tokens=_mean(stats.output),
        template_tokens=_mean(stats.template),
        alone_seconds=_mean(stats.alone),
        ahead_seconds=_mean(stats.ahead.get(ANY)),
        service_seconds={engine: average.value for engine, average in stats.service.items()},
    )


def _mean(average: Average | None) -> float | None:
    return average.value if average is not None and average.count else None
