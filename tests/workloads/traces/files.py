"""Small files in the forms of public traces, made by hand."""

from __future__ import annotations

import json
from pathlib import Path

Fields = dict[str, object]


def write(path: Path, *rows: object) -> Path:
    """One JSON object a line; texts as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def document(path: Path, content: object) -> Path:
    """One JSON document, on several lines."""
    path.write_text(json.dumps(content, indent=2))
    return path


def row(timestamp: float, prompt: int, output: int, *blocks: int) -> Fields:
    return {"timestamp": timestamp, "input_length": prompt, "output_length": output, "hash_ids": list(blocks)}


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"


def azure(path: Path, *rows: str) -> Path:
    """A CSV file as Azure's."""
    path.write_text(AZURE + "".join(f"{line}\r\n" for line in rows), newline="")
    return path
