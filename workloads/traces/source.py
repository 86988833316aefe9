"""The files of a trace: one file, a folder of them, or a tar archive; compressed or not."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import SpooledTemporaryFile
from typing import IO, TypeAlias

from workloads.program import WorkloadError

File: TypeAlias = IO[bytes] | gzip.GzipFile
"""Bytes that can be read and sought in."""

_IN_MEMORY = 16 * 1024 * 1024
"""Bytes of an archive's file that are not yet put on disk."""
_PACKED: dict[bytes, Callable[[Path], File]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
_UNREADABLE = (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class Source:
    """A file, unpacked, that can be read more than once."""

    name: str
    """For messages."""
    label: str
    """Tells it from the trace's other files; ids that the trace does not give begin with it."""
    file: File

    def head(self, size: int) -> bytes:
        """The first bytes."""
        self.file.seek(0)
        return self.file.read(size)

    def whole(self) -> bytes:
        """All bytes."""
        return self.head(-1)

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Each line that is not empty, and where it is."""
        self.file.seek(0)
        for number, line in enumerate(self.file, start=1):
            if line.strip():
                yield f"{self.name}:{number}", line


def open_sources(path: Path) -> Iterator[Source]:
    """Yields the files in the order of their names (of an archive, as they lie in it); each is open until the next.

    Raises:
        WorkloadError: something cannot be read; the message says what, and why.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        label = file.relative_to(path) if path.is_dir() else PurePath(path.name)
        with readable(str(file)):
            yield from _members(file) if tarfile.is_tarfile(file) else _single(file, label)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what goes wrong in reading or unpacking a file into a `WorkloadError` that names it."""
    try:
        yield
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise WorkloadError(f"{name} cannot be read: {reason}") from error


def _single(path: Path, label: PurePath) -> Iterator[Source]:
    with path.open("rb") as plain:
        magic = plain.read(8)
    unpack = next((unpack for start, unpack in _PACKED.items() if magic.startswith(start)), None)
    with unpack(path) if unpack else path.open("rb") as file:
        yield Source(str(path), _bare(label), file)


def _members(path: Path) -> Iterator[Source]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            packed = archive.extractfile(member)
            if packed is not None:
                with SpooledTemporaryFile(_IN_MEMORY) as file:
                    shutil.copyfileobj(packed, file)
                    yield Source(f"{path}: {member.name}", _bare(PurePath(member.name)), file)


def _bare(name: PurePath) -> str:
    return str(name.with_name(name.name.split(".", 1)[0] or name.name))
