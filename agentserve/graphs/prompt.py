"""LLM calls that plans name like tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentserve.client.base import Messages


@dataclass(frozen=True, slots=True)
class Prompt:
    """An LLM call by its name, which is also its stage.

    Attributes:
        make: the messages, by the line's arguments.
        join: it gets the values of all earlier lines of its plan instead, as one mapping by their numbers: None for
            those that have none. It runs if one of them has a value.
        fields: the API's own fields of the call.
    """

    name: str
    make: Callable[..., Messages]
    join: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
