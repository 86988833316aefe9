"""All tenants of a gateway: those of the configuration, and those that only a key names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentserve.config import Config
from agentserve.gateway.tenants.section import TenantSection
from agentserve.gateway.tenants.tenant import SALTS, Passage, Tenant
from scheduler.types import DEFAULT_TENANT, TenantId


class Roster:
    """The tenants by name. One that the configuration does not name has no limits and the usual weight."""

    def __init__(self, config: Config) -> None:
        self._allow = config.allow
        self._keyed = config.keys is not None
        self._tenants: dict[TenantId, Tenant] = {}
        for section in config.tenants:
            self._add(section)

    def change(self, config: Config) -> None:
        """Takes up other terms; what tenants have used, and what is under way, goes on to count.

        Tenants that the configuration does not name any more are like those that it never named.
        """
        self._allow = config.allow
        sections = {TenantId(section.name): section for section in config.tenants}
        for name in self._tenants.keys() | sections.keys():
            section = sections.get(name) or TenantSection(name=name)
            if name in self._tenants:
                self._tenants[name].change(section, self._passage(section))
            else:
                self._add(section)

    def __iter__(self) -> Iterator[Tenant]:
        return iter(tuple(self._tenants.values()))

    def of(self, name: TenantId = DEFAULT_TENANT) -> Tenant:
        """The tenant of that name."""
        return self._tenants.get(name) or self._add(TenantSection(name=name))

    def spent(self) -> dict[str, list[int]]:
        """What of budgets is spent: period and tokens of each tenant, as plain JSON values."""
        return {tenant.id: [tenant.budget.period, tenant.budget.spent] for tenant in self if tenant.budget}

    @staticmethod
    def check_spent(saved: object) -> dict[TenantId, list[int]]:
        """What `spent` gave. Raises `ValueError` if it is something else."""
        if not isinstance(saved, Mapping):
            raise ValueError(f"what is spent is an object, not {type(saved).__name__}")
        for row in saved.values():
            if not (isinstance(row, list) and len(row) == 2 and all(isinstance(item, int) for item in row)):
                raise ValueError(f"what is spent is a period and a number of tokens, not {row!r}")
        return {TenantId(str(name)): row for name, row in saved.items()}

    def load_spent(self, saved: object) -> None:
        """Goes on from what `spent` gave. Raises `ValueError` if it is something else."""
        for name, row in self.check_spent(saved).items():
            tenant = self._tenants.get(name)
            if tenant is not None and tenant.budget is not None:
                tenant.budget.period, tenant.budget.spent = row

    def _add(self, section: TenantSection) -> Tenant:
        tenant = Tenant(section, self._passage(section))
        self._tenants[tenant.id] = tenant
        return tenant

    def _passage(self, section: TenantSection) -> Passage:
        allow = frozenset(self._allow if section.allow is None else section.allow)
        salt = f"{SALTS}{section.name}" if self._keyed and not section.shared_cache else ""
        return Passage(allow, salt, authorization=not self._keyed)
