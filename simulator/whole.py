"""Files that are there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Writes a text beside the path, under a name that ends in `.part`, and gives it its own name when it is complete.

    Raises:
        OSError: it cannot be written there; what was at the path before is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Writes a JSON document, whole or not at all.

    Raises:
        OSError: as `write_whole`.
    """
    write_whole(path, _lines(content))


def _lines(content: object) -> Iterator[str]:
    yield from json.JSONEncoder(indent=1).iterencode(content)
    yield "\n"
