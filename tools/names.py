"""Tool names as they are kept: short, and always encodable."""

from __future__ import annotations

MAX_NAME_BYTES = 256
UNKNOWN = ""
"""The name of a tool that was called but could not be recognised."""


def clip(name: str) -> str:
    """The first 256 bytes of `name` in UTF-8, with lone surrogates replaced, so that it can be saved and labelled."""
    return name.encode("utf-8", "replace")[:MAX_NAME_BYTES].decode("utf-8", "ignore")
