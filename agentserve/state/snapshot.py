"""A brain as bytes and back, so that it goes on as if nothing had been.

The brain is plain objects that refer to each other, which is what pickle is for. But a pickle may name any function of
any module to be called: what is thawed here may name the classes of `scheduler` and `tools`, a few containers, and the
methods of such classes, and nothing else. A snapshot belongs to the code that made it, of which `CODE` is the digest.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import scheduler
import tools
from scheduler.brain import Brain

ROOMS = ("scheduler.", "tools.")
CONTAINERS = {
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("random", "Random"),
}


class SnapshotError(ValueError):
    """The bytes are no brain that this program could thaw."""


def method(owner: object, name: str) -> object:
    """The method of that name that an object's class defines.

    Raises:
        SnapshotError: the object is none of the brain's, or there is no such method.
    """
    kind = type(owner)
    found = next((base.__dict__[name] for base in kind.__mro__ if name in base.__dict__), None)
    if not kind.__module__.startswith(ROOMS) or not isinstance(found, FunctionType):
        raise SnapshotError(f"{kind.__qualname__} has no method {name!r}")
    return MethodType(found, owner)


class _Pickler(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, MethodType):
            return method, (item.__self__, item.__name__)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, method.__name__):
            return method
        found = super().find_class(module, name) if module.startswith(ROOMS) else None
        if (module, name) in CONTAINERS or (isinstance(found, type) and found.__module__.startswith(ROOMS)):
            return super().find_class(module, name)
        raise SnapshotError(f"a snapshot does not name {module}.{name}")


def freeze(brain: Brain) -> bytes:
    """The whole brain."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(brain)
    return buffer.getvalue()


def thaw(data: bytes) -> Brain:
    """The inverse of `freeze`.

    Raises:
        SnapshotError: it is something else, or of other code.
    """
    try:
        brain = _Unpickler(io.BytesIO(data)).load()
    except SnapshotError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise SnapshotError(f"the snapshot cannot be read: {error!r}") from error
    if not isinstance(brain, Brain):
        raise SnapshotError(f"the snapshot is of {type(brain).__name__}, and not of a brain")
    return brain


def _digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for room in (scheduler, tools):
        for file in sorted(Path(path) for path in room.__path__):
            for source in sorted(file.rglob("*.py")):
                digest.update(source.read_bytes())
    return digest.hexdigest()


CODE = _digest()
"""Of the brain's own source."""
