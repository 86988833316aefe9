"""What of a request steers the engine and not the answer: none of it passes unless the operator allows it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

CONTROL_FIELDS = frozenset(
    {
        "priority",
        "vllm_xargs",
        "session_id",
        "request_id",
        "kv_transfer_params",
        "ec_transfer_params",
        "cache_salt",
        "agentserve",
    }
)
"""Fields of a body."""

CONTROL_HEADERS = frozenset({"x-session-id", "x-vllm-priority"})
"""Headers that vLLM takes the same from. Others do not pass at all, but for those that the protocols name."""

NEVER: Mapping[str, str] = MappingProxyType(
    {
        "skip_reading_prefix_cache": "it kills vLLM's engine at the first cache hit",
        "agentserve": "it is for the gateway itself",
    }
)
"""What no operator can allow, and why not."""

DROPPED = CONTROL_FIELDS | NEVER.keys()
"""Fields of a body that do not pass unless they are allowed."""


def _allowable(name: str) -> str:
    if name in NEVER:
        raise ValueError(f"{name!r} never passes: {NEVER[name]}")
    valid = sorted((CONTROL_FIELDS | CONTROL_HEADERS) - NEVER.keys())
    if name not in valid:
        near = difflib.get_close_matches(name, valid, 1, cutoff=0.0)[0]
        raise ValueError(f"{name!r} steers no engine; did you mean {near!r}? (valid: {', '.join(valid)})")
    return name


Steering = Annotated[str, AfterValidator(_allowable)]
"""A field or header that an operator may allow."""
