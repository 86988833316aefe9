"""What the gateways of one cell share: who has the brain, its log and snapshots, tenants' counters, response ids."""

from __future__ import annotations

from agentserve.config import StoreSection
from agentserve.state.base import Store, StoreError


def open_store(section: StoreSection) -> Store:
    """The store of a configuration; nothing has been asked of it.

    Raises:
        StoreError: its url is none, or redis-py is missing.
    """
    try:
        from agentserve.state.redis import RedisStore
    except ImportError as error:
        raise StoreError("store: it needs redis-py; install it with: pip install 'agentserve[scale]'") from error
    return RedisStore(section.redis, section.cell, section.lease / 2)
