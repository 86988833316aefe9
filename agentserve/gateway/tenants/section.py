"""The `tenants` of a configuration file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentserve.gateway.tenants.keys import TENANT_NAME
from agentserve.gateway.tenants.steering import Steering
from agentserve.sections import Count, Duration, Factor, PathText, Section


class BudgetSection(Section):
    """Tokens that may be used up, prompts and answers together, until the period ends and another begins."""

    tokens: Count
    every: Duration = 86_400.0
    """Periods are counted from 1970: one of a day ends at midnight UTC."""


class TenantSection(Section):
    """What a tenant may do. What is left out is not limited."""

    name: Annotated[str, Field(pattern=f"^{TENANT_NAME}$")]
    weight: Factor = 1.0
    """Its share under contention, against the weights of the others that wait."""
    tier: Annotated[int, Field(ge=0, le=99)] = 0
    """Calls of a smaller tier go before all others, whatever the weights."""
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    """Of prompts and answers together, as engines count them."""
    concurrency: Count | None = None
    """Requests at a time, waiting ones included."""
    queue: Count | None = None
    """Calls that may wait for their turn at a time."""
    longest_wait: Duration | None = None
    """A call that can be expected to wait longer for its turn is refused at once."""
    budget: BudgetSection | None = None
    allow: list[Steering] | None = None
    """Engine-control fields and headers that it may send; the file's own `allow` where this is left out."""
    shared_cache: bool = False
    """Its prompts may hit what others have cached, and theirs its own: who waits how long tells what others asked."""


class TlsSection(Section):
    """Serve https."""

    certificate: PathText
    """The certificate with its chain, as PEM."""
    key: PathText
    """Its private key, as PEM."""
