"""The store in a Redis server (or Valkey), reached by redis-py. What has to be one step is a Lua script there.

Keys, all under `agentserve:{CELL}:`

    schema              the number of this layout
    epoch               the latest epoch
    lease               hash: gateway, address, secret, epoch; expires with the lease
    snapshot            hash: code, brain, learned
    log                 stream of groups of lines since the snapshot, in the field `g`
    spent:TENANT:PERIOD hash: gateway to tokens
    engines             hash: engine to "MILLISECONDS ENTRY", until when what is said of it
    response:TENANT:ID  the program of a response
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    ConnectionError,  # noqa: A004 - redis-py's own, which is not the built-in one
    NoPermissionError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from agentserve.state.base import LEFT, SCHEMA, Candidate, Lease, Saved, Snapshot, StoreError, StoreUnreachableError
from scheduler.types import Seconds, TenantId, Tokens

OLDEST = (6, 0)
"""The oldest version with all that is used here."""
TIMEOUT: Seconds = 2.0
"""For an answer of the server."""
KEPT: Seconds = 62 * 86_400.0
"""How long it is kept what a period's budget was spent by."""
REMEMBERED: Seconds = 86_400.0
"""How long the program of a response is remembered."""

CHECK = """
local found = redis.call('GET', KEYS[1])
if not found then redis.call('SET', KEYS[1], ARGV[1]) found = ARGV[1] end
return found
"""
ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local previous = tonumber(redis.call('GET', KEYS[2]) or '0')
local epoch = math.max(previous + 1, tonumber(ARGV[5]) + 1, tonumber(redis.call('TIME')[1]))
local text = string.format('%d', epoch)
redis.call('SET', KEYS[2], text)
redis.call('HSET', KEYS[1], 'gateway', ARGV[1], 'address', ARGV[2], 'secret', ARGV[3], 'epoch', text)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {epoch, previous}
"""
RENEW = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE = """
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
APPEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[2], '*', 'g', ARGV[2])
return 1
"""
KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[3], 'code', ARGV[2], 'brain', ARGV[3], 'learned', ARGV[4])
redis.call('DEL', KEYS[2])
return 1
"""
RESTORE = """
return {redis.call('HMGET', KEYS[1], 'code', 'brain', 'learned'), redis.call('XRANGE', KEYS[2], '-', '+')}
"""
SPEND = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local sum = 0
for _, tokens in ipairs(redis.call('HVALS', KEYS[1])) do sum = sum + tonumber(tokens) end
return sum
"""

ENLIST = """
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', ends) .. ' ' .. ARGV[2])
"""
ENLISTED = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local said = {}
local all = redis.call('HGETALL', KEYS[1])
for index = 1, #all, 2 do
  local ends, entry = string.match(all[index + 1], '^(%d+) (.*)$')
  if tonumber(ends) > now then
    said[#said + 1] = {all[index], entry, tonumber(ends) - now}
  else
    redis.call('HDEL', KEYS[1], all[index])
  end
end
return said
"""


class RedisStore:
    """One cell's store. Nothing is tried again here: who asks knows whether a second time would be one too many."""

    def __init__(self, url: str, cell: str, timeout: Seconds = TIMEOUT) -> None:
        """Raises `StoreError` if the url is none."""
        self._place = url.rpartition("@")[2]
        self._prefix = f"agentserve:{{{cell}}}:"
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise StoreError(f"store: {url!r} is no url of a Redis server, as redis://HOST:PORT is: {error}") from error

    async def open(self) -> Seconds:
        """Checks version, password and schema, and returns the server's clock."""
        async with self._asking():
            info: dict[str, Any] = await self._redis.info("server")
            check_version(str(info["redis_version"]))
            found = int(await self._redis.eval(CHECK, 1, self._key("schema"), SCHEMA))
            seconds, micros = await self._redis.time()
        if found != SCHEMA:
            raise StoreError(
                f"store: the cell in {self._place} is of schema {found}, and this program reads {SCHEMA}; run the"
                " agentserve that wrote it, or name another cell (`store.cell`), which begins with nothing learned"
            )
        return float(seconds) + micros / 1e6

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def leader(self) -> Lease | None:
        """Who has the brain now."""
        async with self._asking():
            found = await self._redis.hgetall(self._key("lease"))
        if b"epoch" not in found:
            return None
        holder = Candidate(*(_text(found[name]) for name in (b"gateway", b"address", b"secret")))
        epoch = int(found[b"epoch"])
        return Lease(holder, epoch, epoch)

    async def acquire(self, candidate: Candidate, ttl: Seconds, seen: int) -> Lease | None:
        """Takes the lease if nobody has it."""
        words = candidate.gateway, candidate.address, candidate.secret, _ms(ttl), seen
        taken = await self._run(ACQUIRE, ("lease", "epoch"), *words)
        return None if taken is None else Lease(candidate, int(taken[0]), int(taken[1]))

    async def renew(self, lease: Lease, ttl: Seconds) -> bool:
        """Makes the lease last for `ttl` from now."""
        return bool(await self._run(RENEW, ("lease",), lease.epoch, _ms(ttl)))

    async def release(self, lease: Lease) -> None:
        """Gives the lease back."""
        await self._run(RELEASE, ("lease",), lease.epoch)

    async def append(self, lease: Lease, group: bytes) -> bool:
        """Adds a group of lines to the log."""
        return bool(await self._run(APPEND, ("epoch", "log"), lease.epoch, group))

    async def keep(self, lease: Lease, snapshot: Snapshot) -> bool:
        """Replaces the snapshot and empties the log."""
        parts = snapshot.code, snapshot.brain, snapshot.learned
        return bool(await self._run(KEEP, ("epoch", "log", "snapshot"), lease.epoch, *parts))

    async def restore(self) -> Saved | None:
        """What the last brain left."""
        (code, brain, learned), log = await self._run(RESTORE, ("snapshot", "log"))
        if code is None:
            return None
        return Saved(Snapshot(code.decode(), brain, learned.decode()), tuple(fields[1] for _, fields in log))

    async def spend(self, gateway: str, tenant: TenantId, period: int, tokens: Tokens) -> Tokens:
        """Notes what one gateway has spent, and returns what all have."""
        return int(await self._run(SPEND, (f"spent:{tenant}:{period}",), gateway, tokens, _ms(KEPT)))

    async def remember(self, programs: Mapping[tuple[TenantId, str], str]) -> None:
        """Notes the programs of responses."""
        async with self._asking(), self._redis.pipeline(transaction=False) as pipe:
            for (tenant, response), program in programs.items():
                pipe.set(self._key(f"response:{tenant}:{response}"), program, px=_ms(REMEMBERED))
            await pipe.execute()

    async def enlist(self, name: str, entry: str, ttl: Seconds) -> None:
        """Notes what there is to say of an engine."""
        await self._run(ENLIST, ("engines",), name, entry, _ms(ttl))

    async def delist(self, name: str) -> None:
        """Says of an engine that it leaves."""
        await self.enlist(name, "", LEFT)

    async def enlisted(self) -> Mapping[str, tuple[str, Seconds]]:
        """What was said of each engine, and how long it still holds."""
        said = await self._run(ENLISTED, ("engines",))
        return {_text(name): (_text(entry), left / 1000) for name, entry, left in said}

    async def recall(self, tenant: TenantId, response: str) -> str | None:
        """The program of a response."""
        async with self._asking():
            found = await self._redis.get(self._key(f"response:{tenant}:{response}"))
        return None if found is None else _text(found)

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _run(self, script: str, keys: tuple[str, ...], *arguments: str | bytes | int) -> Any:
        async with self._asking():
            return await self._redis.eval(script, len(keys), *map(self._key, keys), *arguments)

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Raises what redis-py raises as errors that say what to do."""
        try:
            yield
        except (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError) as error:
            message = f"store: {self._place} asks for a password, or for another one, as in redis://:PASSWORD@HOST:PORT"
            raise StoreError(f"{message} ({error})") from error
        except (ConnectionError, TimeoutError) as error:
            raise StoreUnreachableError(
                f"store: no answer from {self._place} ({error}); start a Redis server there, or correct `store.redis`"
            ) from error
        except ResponseError as error:
            if str(error).startswith(("LOADING", "MASTERDOWN", "READONLY", "BUSY")):
                raise StoreUnreachableError(f"store: {self._place} is not ready yet ({error})") from error
            raise StoreError(f"store: {self._place} refused what it was asked: {error}") from error
        except RedisError as error:
            raise StoreError(f"store: {self._place}: {error}") from error


def check_version(version: str) -> None:
    """Raises `StoreError` if a server of that version lacks what is used here."""
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if known < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise StoreError(f"store: the Redis server is of version {version}; {oldest} or later is needed")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()


def _ms(seconds: Seconds) -> int:
    return round(seconds * 1000)
