"""JSON Lines files whose first line names the schema and its version, and programs in that form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from workloads.program import Program, WorkloadError, check_workload

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    schema: str
    version: int


_HEADER = TypeAdapter(Header)


def parse(adapter: TypeAdapter[Item], text: bytes) -> Item:
    """Reads a JSON value.

    Raises:
        WorkloadError: it is not what it should be. The message begins with the field.
    """
    try:
        return adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "line"
        raise WorkloadError(f"{field}: {first['msg'].removeprefix('Value error, ')}") from None


class Lines(Generic[Item]):
    """A file format: one header line, then one JSON object a line, each an `Item` (a dataclass)."""

    def __init__(self, schema: str, version: int, item: type[Item]) -> None:
        self._header = Header(schema, version)
        self._adapter = TypeAdapter(item)

    @property
    def header(self) -> bytes:
        """The first line."""
        return _HEADER.dump_json(self._header) + b"\n"

    def line(self, item: Item) -> bytes:
        """The line of one item."""
        return self._adapter.dump_json(item, exclude_defaults=True) + b"\n"

    def check_header(self, line: bytes) -> None:
        """Checks a file's first line.

        Raises:
            WorkloadError: the file is of another schema or version.
        """
        found = parse(_HEADER, line)
        if found != self._header:
            raise WorkloadError(
                f"this is {found.schema} version {found.version}; "
                f"expected {self._header.schema} version {self._header.version}"
            )

    def item(self, line: bytes) -> Item:
        """Reads the line of one item.

        Raises:
            WorkloadError: as `parse`.
        """
        return parse(self._adapter, line)

    def write(self, path: Path, items: Iterable[Item]) -> None:
        """Writes the items one by one; the file appears under its name only when it is complete."""
        draft = path.with_name(path.name + ".part")
        try:
            with draft.open("wb") as file:
                file.write(self.header)
                for item in items:
                    file.write(self.line(item))
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def read(self, path: Path) -> Iterator[Item]:
        """Yields the items one by one as it reads. Empty lines are passed over.

        Raises:
            WorkloadError: the file is of another schema or version, or a line is not what it should be. The message
                names the file, the line and the field.
        """
        number = 1
        with path.open("rb") as file:
            try:
                self.check_header(file.readline())
                for number, line in enumerate(file, start=2):  # noqa: B007
                    if line.strip():
                        yield self.item(line)
            except WorkloadError as error:
                raise WorkloadError(f"{path}:{number}: {error}") from None


PROGRAMS = Lines("agentserve.programs", 1, Program)


def write_programs(path: Path, programs: Iterable[Program]) -> None:
    """Writes one program a line."""
    PROGRAMS.write(path, programs)


def load_programs(path: Path) -> list[Program]:
    """Reads all programs and checks them against each other.

    Raises:
        WorkloadError: as `Lines.read` and `check_workload`; the message names the file.
    """
    programs = list(PROGRAMS.read(path))
    try:
        check_workload(programs)
    except WorkloadError as error:
        raise WorkloadError(f"{path}: {error}") from None
    return programs
