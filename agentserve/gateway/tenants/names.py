"""The names that a tenant's clients give to workflows and stages. Something is learned of each, so there is an end to them."""

from __future__ import annotations

import logging

from scheduler.types import UNNAMED, TenantId

MOST = 1000
"""Workflows with their stages that a tenant may name while the gateway runs; further ones count as none."""

logger = logging.getLogger(__name__)


class Names:
    """The names of one tenant."""

    def __init__(self, tenant: TenantId) -> None:
        self._tenant = tenant
        self._known: set[tuple[str, str]] = {("", ""), (UNNAMED, "")}

    def known(self, workflow: str, stage: str) -> tuple[str, str]:
        """The workflow and the stage of a call as they are remembered."""
        if (workflow, stage) in self._known:
            return workflow, stage
        if len(self._known) < MOST:
            self._known |= {(workflow, ""), (workflow, stage)}
            if len(self._known) >= MOST:
                logger.warning(
                    "tenant %s has named %d workflows and stages, further ones count as none; a name is for a kind of "
                    "program or step, not for each of them",
                    self._tenant,
                    MOST,
                )
            return workflow, stage
        return (workflow, "") if (workflow, "") in self._known else ("", "")
