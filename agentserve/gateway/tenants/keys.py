"""API keys: random texts that are shown once, and of which a file keeps nothing but their hashes.

A key is `ags_ID_SECRET`. Its id is public and finds its hash; the secret has 256 random bits, so that a plain SHA-256
keeps it: there is nothing to guess, which slow hashes are for.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from scheduler.types import Seconds, TenantId

FORMAT = "agentserve-keys/1"
TENANT_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""No slash: what engines know a program by is `tenant/program`."""

_KEY = re.compile(r"ags_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = "0" * 64


class KeysError(ValueError):
    """Keys that cannot be read or changed. The message says which and what to do."""


class Role(StrEnum):
    """What a key opens."""

    CLIENT = "client"
    """The inference routes, and the programs of its tenant."""
    ADMIN = "admin"
    """The operators' routes and every tenant's programs too."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key; times are seconds since 1970."""

    id: str
    tenant: TenantId
    role: Role
    digest: str
    """SHA-256 of the whole key, in hexadecimal."""
    created: Seconds
    expires: Seconds | None = None

    def expired(self, now: Seconds) -> bool:
        """Whether it opens nothing any more."""
        return self.expires is not None and now >= self.expires


class Issued(NamedTuple):
    """A new key, with the text that nobody can know later."""

    key: Key
    text: str


class KeyRing:
    """The keys of one gateway, by their ids."""

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        self.keys = {key.id: key for key in keys}

    def find(self, text: str) -> Key | None:
        """The key of that text, expired or not. Takes the same time for a wrong secret as for a right one."""
        shape = _KEY.fullmatch(text)
        key = self.keys.get(shape[1]) if shape else None
        right = hmac.compare_digest(_digest(text), key.digest if key else _NOBODY)
        return key if right else None

    def create(self, tenant: str, now: Seconds, *, role: Role = Role.CLIENT, lasts: Seconds | None = None) -> Issued:
        """A new key, for good or for `lasts` seconds.

        Raises:
            KeysError: that can be no tenant's name.
        """
        if not re.fullmatch(TENANT_NAME, tenant):
            raise KeysError(
                f"a tenant's name has up to 64 letters, digits, dots, dashes and underscores, not {tenant!r}"
            )
        name = secrets.token_hex(6)
        text = f"ags_{name}_{secrets.token_urlsafe(32)}"
        key = Key(name, TenantId(tenant), role, _digest(text), now, None if lasts is None else now + lasts)
        self.keys[name] = key
        return Issued(key, text)

    def rotate(self, name: str, now: Seconds, grace: Seconds) -> Issued:
        """A new key in place of another, which goes on for `grace` seconds and keeps an earlier end of its own.

        Raises:
            KeysError: there is no such key, or it has expired.
        """
        old = self._known(name)
        if old.expired(now):
            raise KeysError(f"key {name} has expired; create a new one")
        lasts = None if old.expires is None else old.expires - old.created
        end = now + grace if old.expires is None else min(old.expires, now + grace)
        self.keys[name] = replace(old, expires=end)
        return self.create(old.tenant, now, role=old.role, lasts=lasts)

    def revoke(self, name: str) -> Key:
        """Takes a key away at once.

        Raises:
            KeysError: there is no such key.
        """
        key = self._known(name)
        del self.keys[name]
        return key

    def _known(self, name: str) -> Key:
        if name not in self.keys:
            raise KeysError(f"there is no key {name!r}; `agentserve keys list` shows those that there are")
        return self.keys[name]


def load_keys(path: Path) -> KeyRing:
    """Reads the keys of a file.

    Raises:
        KeysError: there is no such file, or it is something else.
    """
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved["format"] != FORMAT:
            raise ValueError(f"its format is {saved['format']!r}")
        return KeyRing([_key(row) for row in saved["keys"]])
    except FileNotFoundError:
        raise KeysError(f"there is no file {path}; `agentserve keys create` makes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeysError(f"keys {path} cannot be read: {error}") from error


@contextmanager
def changing(path: Path) -> Iterator[KeyRing]:
    """The keys of a file, to be changed by one process at a time; saved at the end, for their owner's eyes only.

    Raises:
        KeysError: the file cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ring = load_keys(path) if path.exists() else KeyRing()
            yield ring
            _save(path, ring)
    except OSError as error:
        raise KeysError(f"keys {path} cannot be changed: {error.strerror}") from error


def _save(path: Path, ring: KeyRing) -> None:
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "keys": [asdict(key) for key in ring.keys.values()]}, file, indent=1)
    fresh.replace(path)


def _key(row: Mapping[str, object]) -> Key:
    names = {field.name for field in fields(Key)}
    texts = ("id", "tenant", "role", "digest")
    if set(row) != names or not all(isinstance(row[name], str) for name in texts):
        raise ValueError(f"a key has {', '.join(sorted(names))}")
    created, expires = row["created"], row["expires"]
    if not isinstance(created, int | float) or not (expires is None or isinstance(expires, int | float)):
        raise ValueError("the times of a key are seconds since 1970")
    return Key(
        str(row["id"]), TenantId(str(row["tenant"])), Role(str(row["role"])), str(row["digest"]), created, expires
    )


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
