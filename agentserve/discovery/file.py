"""Engines by a file that operators or their tools write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from agentserve.discovery.base import DiscoveryError
from agentserve.discovery.section import EngineList, Entry
from agentserve.sections import UnreadableError, problem, read_yaml, repeated


class FileSource:
    """The list in a YAML or JSON file, read anew when it was written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._list: Sequence[Entry] = ()

    async def listed(self) -> Sequence[Entry]:
        """What the file says. Raises `DiscoveryError` where it is missing or wrong."""
        try:
            found = self._path.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            if stamp != self._read:
                self._list = parse_list(read_yaml(self._path), str(self._path))
                self._read = stamp
        except OSError as error:
            raise DiscoveryError(f"{self._path} cannot be read: {error.strerror}") from error
        except UnreadableError as error:
            raise DiscoveryError(str(error)) from error
        return self._list


def parse_list(value: object, place: str) -> Sequence[Entry]:
    """A list of engines from plain data. Raises `DiscoveryError` naming `place` if something in it is wrong."""
    try:
        entries = EngineList.model_validate(value).engines
    except ValidationError as error:
        lines = "; ".join(map(problem, error.errors(include_url=False)))
        raise DiscoveryError(f"{place}: {lines}") from None
    if (twice := repeated(entry.name for entry in entries)) is not None:
        raise DiscoveryError(f"{place}: engine names must differ, and {twice!r} is used more than once")
    return entries
