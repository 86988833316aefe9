"""The routes by which engines are registered."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field

from agentserve.discovery.base import DiscoveryError
from agentserve.discovery.registry import RegistrySource
from agentserve.discovery.section import Entry
from agentserve.gateway.control import operator
from agentserve.gateway.errors import ApiError
from agentserve.gateway.fleet import Fleet
from agentserve.sections import Duration


class Registration(Entry):
    """An engine, and for how long it is there unless it says so again."""

    lease: Duration = Field(30.0, description="Seconds; register again at a third of it.")


def registration_routes(registry: RegistrySource | None, fleet: Fleet) -> APIRouter:
    """The routes; without a registry they say how to have one."""
    router = APIRouter(dependencies=[Depends(operator)])

    @router.post("/agentserve/v1/engines", summary="Register an engine, or say that it is still there")
    async def register(registration: Registration) -> dict[str, object]:
        known = _registry(registry)
        if registration.model not in fleet.pools:
            pools = ", ".join(fleet.pools)
            message = f"there is no pool {registration.model!r}; the pools are {pools}"
            raise ApiError(400, message, param="model", code="invalid_value")
        entry = Entry.model_validate(registration.model_dump(exclude={"lease"}))
        try:
            await known.register(entry, registration.lease)
        except DiscoveryError as error:
            raise ApiError(503, str(error), code="no_store", retry_after=1) from None
        return {"registered": entry.name, "lease": registration.lease}

    @router.delete("/agentserve/v1/engines/{name}", summary="The engine leaves: its programs move, its calls end")
    async def withdraw(name: str) -> dict[str, str]:
        try:
            await _registry(registry).withdraw(name)
        except DiscoveryError as error:
            raise ApiError(503, str(error), code="no_store", retry_after=1) from None
        return {"leaving": name}

    return router


def _registry(registry: RegistrySource | None) -> RegistrySource:
    if registry is None:
        message = "engines cannot be registered here; set `discovery: {http: true}` in the configuration"
        raise ApiError(404, message, code="no_registry")
    return registry
