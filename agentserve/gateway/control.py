"""The control routes: what is there, how it is, and what clients may say about their programs."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from agentserve.gateway.document import OpenAIError
from agentserve.gateway.errors import ApiError, unknown_model
from agentserve.gateway.fleet import EngineReport, Fleet
from agentserve.gateway.tenants.door import Visitor
from agentserve.gateway.workflows import WorkflowReport, report_workflows
from agentserve.workflows import WorkflowSection
from scheduler.events import HintGiven, ProgramEnded, ToolEnded, ToolStarted
from scheduler.state import Program
from scheduler.types import ProgramKey, Seconds, TenantId

TenantName = Annotated[str | None, Query(description="Another tenant than the key's own: for admin keys.")]


class Hints(BaseModel):
    """What an agent knows of its program. Every field may be left out; times are in seconds."""

    model_config = ConfigDict(extra="forbid")

    tool_started: str | None = Field(None, min_length=1, max_length=256, description="The tool that runs now.")
    tool_ended: bool = Field(False, description="The tool has returned: the next call is about to come.")
    remaining_calls: int | None = Field(None, ge=0, description="Calls the program still makes.")
    expected_gap: Seconds | None = Field(None, ge=0, allow_inf_nan=False, description="How long the gap will last.")


class AccountReport(BaseModel):
    """What a program has taken, by the calls of it that have ended."""

    model_config = ConfigDict(from_attributes=True)

    calls: int
    unfinished: int = Field(description="Of these, those that failed, were cancelled or rejected.")
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    engine_seconds: Seconds = Field(description="Time on engines, each call by itself.")
    queue_seconds: Seconds = Field(description="Time in the gateway's line.")
    cost: float = Field(description="By the price table of the configuration.")


class ProgramReport(BaseModel):
    """A program that has not ended."""

    id: str
    tenant: str
    parent: str | None
    workflow: str
    rank: int = Field(description="Its place by first arrival.")
    engine: str | None = Field(description="Where its KV is, or was last.")
    running: int = Field(description="Calls that run now.")
    waiting: int = Field(description="Calls the gateway holds.")
    served: int = Field(description="Calls that have finished.")
    context_tokens: int
    gap_seconds: Seconds | None = Field(description="How long it has been without a call.")
    pinned_seconds: Seconds = Field(description="How much longer its KV is kept.")
    account: AccountReport


class EndedReport(BaseModel):
    """A program that has ended."""

    id: str
    tenant: str
    account: AccountReport


class ProgramList(BaseModel):
    """Programs that have not ended, oldest first, and if asked for those that have, the latest first."""

    programs: list[ProgramReport]
    ended: list[EndedReport] | None = None


class Readiness(BaseModel):
    """Whether every model has an engine."""

    ready: bool
    waiting_for: dict[str, list[str]] = Field(description="Models without one, each with what its engines say.")
    at_zero: dict[str, int] | None = Field(
        None, description="Models that have no engine until calls wait for one, each with how many are held."
    )
    brain: str | None = Field(None, description="Where this gateway stands among those that share a brain.")


class EngineList(BaseModel):
    """Every engine of every pool."""

    engines: list[EngineReport]


class ModelCard(BaseModel):
    """A model in OpenAI's list, and in Anthropic's: their fields do not collide."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "agentserve"
    max_model_len: int | None
    type: str = "model"
    display_name: str
    created_at: str = "1970-01-01T00:00:00Z"


class ModelList(BaseModel):
    """OpenAI's list of models, and Anthropic's."""

    object: str = "list"
    data: list[ModelCard]
    has_more: bool = False
    first_id: str
    last_id: str


def control_routes(fleet: Fleet) -> APIRouter:
    """The routes, for an application of FastAPI."""
    router = APIRouter()
    _add_state(router, fleet)
    _add_models(router, fleet)
    _add_programs(router, fleet)
    return router


def _add_state(router: APIRouter, fleet: Fleet) -> None:
    """How the gateway and its engines are."""
    driver = fleet.driver
    operators = [Depends(operator)]

    @router.get("/health", summary="Whether the gateway lives")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/ready",
        summary="Whether every model has an engine",
        response_model=Readiness,
        responses={503: {"description": "Not so, or the gateway is stopping.", "model": Readiness | OpenAIError}},
    )
    async def ready() -> JSONResponse:
        missing = fleet.missing()
        zero = {"at_zero": at_zero} if (at_zero := fleet.at_zero()) else {}
        brain = {"brain": driver.standing} if driver.standing else {}
        return JSONResponse(
            {"ready": not missing, "waiting_for": missing, **zero, **brain}, status_code=503 if missing else 200
        )

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse, dependencies=operators)
    async def metrics() -> Response:
        return Response(generate_latest(driver.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @router.get(
        "/agentserve/v1/engines",
        summary="Engines, their state and what they can do",
        dependencies=operators,
        response_model=EngineList,
    )
    async def engines() -> JSONResponse:
        engines = [asdict(report) for report in fleet.report()]
        return JSONResponse({"engines": engines} | ({"discovery": dict(fleet.problems)} if fleet.problems else {}))

    @router.get("/agentserve/v1/working-set", summary="KV tokens of live programs, by model", dependencies=operators)
    async def working_set() -> dict[str, dict[str, float | None]]:
        view = driver.brain.working_sets(fleet.pools)
        return {model: asdict(tokens) for model, tokens in view.items()}

    @router.get(
        "/agentserve/v1/workflows",
        summary="Workflows that are declared or were seen, with their stages",
        dependencies=operators,
    )
    async def workflows() -> dict[str, list[WorkflowReport]]:
        return {"workflows": report_workflows(driver.workflows, driver.brain.learned.stages)}

    @router.post(
        "/agentserve/v1/workflows",
        summary="Declares a workflow, in place of an earlier one of that name, until the gateway ends",
        dependencies=operators,
    )
    async def declare(workflow: WorkflowSection) -> dict[str, str]:
        driver.declare(workflow)
        return {"workflow": workflow.name}


def _add_models(router: APIRouter, fleet: Fleet) -> None:
    @router.get("/v1/models", summary="The models of all pools, and virtual ones")
    async def models() -> ModelList:
        cards = [_card(fleet, model) for model in fleet.models]
        return ModelList(data=cards, first_id=cards[0].id, last_id=cards[-1].id)

    @router.get("/v1/models/{model:path}", summary="One model")
    async def model_card(model: str) -> ModelCard:
        if model not in fleet.models:
            raise unknown_model(model, list(fleet.models))
        return _card(fleet, model)


def _add_programs(router: APIRouter, fleet: Fleet) -> None:
    """What programs are there, and what clients may say of theirs."""
    driver = fleet.driver

    @router.get(
        "/agentserve/v1/programs",
        summary="Programs that have not ended, oldest first, with what they took",
        response_model_exclude_unset=True,
    )
    async def programs(
        request: Request,
        tenant: TenantName = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        ended: bool = False,
    ) -> ProgramList:
        visitor = _visitor(request)
        whose = tenant if visitor.admin else _whose(visitor, tenant)
        listed = sorted(driver.brain.programs.values(), key=lambda program: program.rank)
        shown = [_report(fleet, program) for program in listed if whose in (None, program.key.tenant)][:limit]
        return ProgramList(programs=shown, ended=_ended(fleet, whose, limit)) if ended else ProgramList(programs=shown)

    @router.get("/agentserve/v1/programs/{program:path}", summary="One program")
    async def program_report(request: Request, program: str, tenant: TenantName = None) -> ProgramReport:
        return _report(fleet, _known(fleet, request, tenant, program))

    @router.delete("/agentserve/v1/programs/{program:path}", summary="No more calls come from this program")
    async def end_program(request: Request, program: str, tenant: TenantName = None) -> dict[str, str]:
        driver.handle(ProgramEnded(driver.now(), _known(fleet, request, tenant, program).key))
        return {"ended": program}

    @router.post("/agentserve/v1/programs/{program:path}/hints", summary="What the agent knows of what comes next")
    async def give_hints(request: Request, program: str, hints: Hints, tenant: TenantName = None) -> dict[str, str]:
        key = _known(fleet, request, tenant, program).key
        if hints.tool_started is not None:
            driver.handle(ToolStarted(driver.now(), key, hints.tool_started))
        if hints.tool_ended:
            driver.handle(ToolEnded(driver.now(), key))
        if hints.remaining_calls is not None or hints.expected_gap is not None:
            driver.handle(HintGiven(driver.now(), key, hints.remaining_calls, hints.expected_gap))
        return {"program": program}


def _ended(fleet: Fleet, whose: str | None, limit: int) -> list[EndedReport]:
    """The latest of a tenant's programs that have ended; of all tenants' where none is named."""
    over = (
        (key, account)
        for key, account in fleet.ledger.latest()
        if whose in (None, key.tenant) and key not in fleet.driver.brain.programs
    )
    return [
        EndedReport(id=key.program, tenant=key.tenant, account=AccountReport.model_validate(account))
        for key, account in islice(over, limit)
    ]


def _known(fleet: Fleet, request: Request, tenant: str | None, program: str) -> Program:
    """Raises `ApiError` 404 if there is no such program of the tenant's."""
    found = fleet.driver.brain.programs.get(ProgramKey(_whose(_visitor(request), tenant), program))
    if found is None:
        message = f"no program {program!r} is known; it has ended, or has made no call yet"
        raise ApiError(404, message, param="program", code="program_not_found")
    return found


def _visitor(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


def operator(request: Request) -> None:
    """Raises `ApiError` 403 if the route is not for the visitor."""
    _visitor(request).check_admin()


def _whose(visitor: Visitor, tenant: str | None) -> TenantId:
    """The tenant that is meant: the visitor's own, or another where an admin key names one."""
    if tenant is None or tenant == visitor.tenant.id:
        return visitor.tenant.id
    visitor.check_admin()
    return TenantId(tenant)


def _card(fleet: Fleet, model: str) -> ModelCard:
    return ModelCard(id=model, display_name=model, max_model_len=fleet.max_model_len(model))


def _report(fleet: Fleet, program: Program) -> ProgramReport:
    now = fleet.driver.now()
    running = sum(call.engine is not None for call in program.calls.values())
    return ProgramReport(
        id=program.key.program,
        tenant=program.key.tenant,
        parent=program.parent.program if program.parent else None,
        workflow=program.workflow,
        rank=program.rank,
        engine=program.engine,
        running=running,
        waiting=len(program.calls) - running,
        served=program.served,
        context_tokens=program.context,
        gap_seconds=None if program.gap_since is None else now - program.gap_since,
        pinned_seconds=max(0.0, program.pin_until - now),
        account=AccountReport.model_validate(fleet.ledger.account(program.key)),
    )
