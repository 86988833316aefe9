"""What every store promises, asked of each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentserve.state.base import Candidate, Lease, Snapshot, Store, StoreError, StoreUnreachableError
from agentserve.state.memory import MemoryStore
from agentserve.state.redis import RedisStore, check_version
from scheduler.types import TenantId
from tests.redis_fixture import RealRedis, free_port

TENANT = TenantId("t")
A = Candidate("a", "127.0.0.1:1", "word")
B = Candidate("b", "127.0.0.1:2", "other word")
SNAPSHOT = Snapshot("code", b"\x80brain", "{}")
LONG = 60.0


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, redis_server: RealRedis) -> AsyncIterator[Store]:
    store: Store = MemoryStore()
    if request.param == "redis":
        store = RedisStore(redis_server.url, f"cell-{secrets.token_hex(4)}")
    await store.open()
    yield store
    await store.close()


async def lead(store: Store, candidate: Candidate = A, seen: int = 0) -> Lease:
    lease = await store.acquire(candidate, LONG, seen)
    assert lease is not None
    return lease


async def test_only_one_has_the_lease(store: Store) -> None:
    assert await store.leader() is None
    lease = await lead(store)
    assert await store.acquire(B, LONG, 0) is None
    leader = await store.leader()
    assert leader is not None
    assert (leader.holder, leader.epoch) == (A, lease.epoch)


async def test_a_lease_that_is_given_back_or_expires_is_over(store: Store) -> None:
    await store.release(await lead(store))
    short = await store.acquire(A, 0.02, 0)
    assert short is not None
    await asyncio.sleep(0.1)
    assert not await store.renew(short, LONG)
    assert await store.leader() is None


async def test_a_lease_lasts_while_it_is_renewed(store: Store) -> None:
    lease = await store.acquire(A, 0.5, 0)
    assert lease is not None
    assert await store.renew(lease, LONG)
    await asyncio.sleep(0.6)
    assert await store.leader() is not None


async def test_epochs_only_grow_and_follow_what_gateways_have_seen(store: Store) -> None:
    first = await lead(store)
    assert first.previous == 0
    await store.release(first)
    second = await lead(store, B)
    assert second.epoch > first.epoch
    assert second.previous == first.epoch
    await store.release(second)
    assert (await lead(store, A, seen=second.epoch + 1000)).epoch > second.epoch + 1000


async def test_who_was_followed_by_another_can_neither_write_nor_give_back_nor_renew(store: Store) -> None:
    old = await lead(store)
    assert await store.keep(old, SNAPSHOT)
    await store.release(old)
    new = await lead(store, B)
    assert not await store.append(old, b"late")
    assert not await store.keep(old, Snapshot("late", b"", "{}"))
    assert not await store.renew(old, LONG)
    await store.release(old)
    leader = await store.leader()
    assert leader is not None
    assert leader.epoch == new.epoch
    saved = await store.restore()
    assert saved is not None
    assert (saved.snapshot, saved.log) == (SNAPSHOT, ())


async def test_what_is_restored_is_the_snapshot_and_the_log_since(store: Store) -> None:
    assert await store.restore() is None
    lease = await lead(store)
    await store.append(lease, b"before")
    await store.keep(lease, SNAPSHOT)
    for group in (b"one", b"\xff\x00two"):
        assert await store.append(lease, group)
    saved = await store.restore()
    assert saved is not None
    assert saved.snapshot == SNAPSHOT
    assert saved.log == (b"one", b"\xff\x00two")


async def test_what_gateways_spend_is_summed_and_counts_once(store: Store) -> None:
    assert await store.spend("a", TENANT, 7, 100) == 100
    assert await store.spend("b", TENANT, 7, 11) == 111
    assert await store.spend("a", TENANT, 7, 100) == 111, "the same note a second time"
    assert await store.spend("a", TENANT, 7, 150) == 161
    assert await store.spend("a", TENANT, 8, 1) == 1, "another period"
    assert await store.spend("a", TenantId("u"), 7, 2) == 2, "another tenant"


async def test_responses_are_found_by_their_tenant_and_id(store: Store) -> None:
    await store.remember({(TENANT, "resp-1"): "p", (TENANT, "resp-2"): "q"})
    assert await store.recall(TENANT, "resp-2") == "q"
    assert await store.recall(TenantId("u"), "resp-1") is None


# --- a server that cannot be used -----------------------------------------------------------------------------------


async def test_two_cells_of_one_server_do_not_meet(redis_server: RealRedis) -> None:
    names = [secrets.token_hex(4) for _ in range(2)]
    for name in names:
        store = RedisStore(redis_server.url, name)
        await store.open()
        await lead(store)
        await store.close()


async def test_a_missing_and_a_wrong_password_are_told_with_where_to_put_it(tmp_path: Path) -> None:
    server = RealRedis(tmp_path, "--requirepass", "sesame")
    server.start()
    try:
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            store = RedisStore(url, "c")
            with pytest.raises(StoreError, match="redis://:PASSWORD@HOST:PORT") as caught:
                await store.open()
            assert "wrong@" not in str(caught.value), "passwords are not for logs"
            await store.close()
        store = RedisStore(server.url.replace("//", "//:sesame@"), "c")
        assert await store.open() > 0
        await store.close()
    finally:
        server.stop()


async def test_a_cell_of_another_schema_is_left_alone(redis_server: RealRedis) -> None:
    cell = secrets.token_hex(4)
    store = RedisStore(redis_server.url, cell)
    await store.open()
    await store._redis.set(f"agentserve:{{{cell}}}:schema", 99)
    with pytest.raises(StoreError, match=r"is of schema 99, and this program reads 1.*name another cell"):
        await store.open()
    await store.close()


async def test_where_nobody_answers_it_is_said_what_to_do() -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}", "c")
    with pytest.raises(StoreUnreachableError, match="start a Redis server there"):
        await store.open()
    await store.close()


@pytest.mark.parametrize("version", ["5.0.14", "2.8"])
def test_an_old_server_is_refused(version: str) -> None:
    with pytest.raises(StoreError, match=rf"of version {version}; 6.0 or later is needed"):
        check_version(version)


@pytest.mark.parametrize("version", ["6.0.0", "7.2.4", "8.2.1", "10.0"])
def test_a_new_enough_server_is_taken(version: str) -> None:
    check_version(version)


def test_what_is_no_url_is_an_error() -> None:
    with pytest.raises(StoreError, match="is no url of a Redis server"):
        RedisStore("localhost:6379", "c")


async def test_what_is_said_of_an_engine_holds_until_its_time_is_over_or_it_is_said_anew(store: Store) -> None:
    await store.enlist("a", '{"name": "a",\n "url": "http://x"}', LONG)
    await store.enlist("b", "first", LONG)
    await store.enlist("b", "second", 2 * LONG)
    await store.enlist("c", "short", 0.02)
    await asyncio.sleep(0.1)
    said = await store.enlisted()
    assert {name: entry for name, (entry, _) in said.items()} == {
        "a": '{"name": "a",\n "url": "http://x"}',
        "b": "second",
    }
    assert said["a"][1] <= LONG < said["b"][1] <= 2 * LONG


async def test_an_engine_that_leaves_is_said_to_by_the_empty_word(store: Store) -> None:
    await store.enlist("a", "entry", LONG)
    await store.delist("a")
    ((entry, left),) = (await store.enlisted()).values()
    assert entry == ""
    assert left > 0
