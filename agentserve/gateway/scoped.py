"""Base URLs that name a program: `/p/PROGRAM/v1/...` is `/v1/...` of that program."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import Scope

from agentserve.gateway.ids import foreign

_SCOPED = re.compile(rb"/p/([^/]+)(/.*)", re.DOTALL)


def scoped(scope: Scope) -> tuple[Scope, str]:
    """The request as it would be without the prefix, and the program; as it is if the prefix names none."""
    if not scope["path"].startswith("/p/"):
        return scope, ""
    raw = scope.get("raw_path") or scope["path"].encode()
    match = _SCOPED.fullmatch(raw)
    program = foreign(unquote(match[1].decode("latin-1"), errors="surrogateescape")) if match else ""
    if match is None or not program:
        return scope, ""
    return {**scope, "path": unquote(match[2].decode("latin-1")), "raw_path": match[2]}, program
