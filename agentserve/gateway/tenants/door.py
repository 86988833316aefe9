"""Who a request comes from: the tenant of its key, or everybody where no key is asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from agentserve.gateway.errors import ApiError
from agentserve.gateway.tenants.keys import KeyRing, KeysError, Role, load_keys
from agentserve.gateway.tenants.roster import Roster
from agentserve.gateway.tenants.tenant import Tenant
from scheduler.types import Seconds

LOOK_AGAIN: Seconds = 2.0
"""Between two looks at the key file."""

logger = logging.getLogger(__name__)

RawHeaders = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a request."""

    tenant: Tenant
    admin: bool

    def check_admin(self) -> None:
        """Raises `ApiError` 403 if the route is not for this visitor."""
        if not self.admin:
            raise ApiError(
                403, "this route needs an admin key (agentserve keys create --admin)", code="admin_key_needed"
            )


class Door:
    """Lets requests in by their keys; without a ring, everybody as the operator of the tenant `default`."""

    def __init__(self, roster: Roster, ring: KeyRing | None, date: Callable[[], Seconds] = time.time) -> None:
        self.ring = ring
        self._roster = roster
        self._date = date

    def enter(self, headers: RawHeaders) -> Visitor:
        """Who comes in with these headers, the names of which are lower-case.

        Raises:
            ApiError: 401, they hold no key that is good.
        """
        if self.ring is None:
            return Visitor(self._roster.of(), admin=True)
        given = list(_keys(headers))
        for text in given:
            key = self.ring.find(text)
            if key is not None:
                if key.expired(self._date()):
                    raise ApiError(401, f"the API key {key.id} has expired", code="expired_api_key")
                return Visitor(self._roster.of(key.tenant), key.role is Role.ADMIN)
        if not given:
            raise ApiError(401, "no API key: send it as Authorization: Bearer KEY, or as x-api-key", code="no_api_key")
        raise ApiError(401, "the API key is not valid here", code="invalid_api_key")


def _keys(headers: RawHeaders) -> Iterable[str]:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip().decode("latin-1")
        elif name == b"x-api-key":
            yield value.strip().decode("latin-1")


async def keep_keys(path: Path, door: Door) -> None:
    """Takes up what changes in the key file, until cancelled. One that cannot be read changes nothing."""
    known = _stamp(path)
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        stamp = _stamp(path)
        if stamp == known:
            continue
        known = stamp
        try:
            door.ring = load_keys(path)
        except KeysError as error:
            logger.error("%s; the keys of before go on", error)
        else:
            logger.info("keys %s: %d are in force", path, len(door.ring.keys))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
