"""A virtual model as the operator configured it, and what a request may change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentserve.gateway.errors import ApiError
from agentserve.gateway.virtual.scoring import Scoring
from scheduler.procedures.answers import Extraction
from scheduler.procedures.base import ProcedureSpec

LOWERED = ("samples", "turns", "segment_tokens", "takeover")
"""What a request may lower, and never raise: the operator's figures are the limits."""


@dataclass(frozen=True, slots=True)
class VirtualModel:
    """A model name that runs a procedure."""

    name: str
    spec: ProcedureSpec
    extraction: Extraction
    scoring: Scoring

    def asked(self, overrides: object) -> ProcedureSpec:
        """The procedure with the overrides of a request's `agentserve` field.

        Raises:
            ApiError: 400, an override is unknown, over its limit, or no budget at all.
        """
        if overrides is None:
            return self.spec
        if not isinstance(overrides, Mapping):
            raise _wrong("agentserve", "an object")
        changes: dict[str, Any] = {}
        for name, value in overrides.items():
            if name == "strict" and isinstance(value, bool):
                changes[name] = value
            elif name in LOWERED:
                changes[name] = self._lowered(name, value)
            else:
                raise _wrong(f"agentserve.{name}", f"strict (true or false) or one of {', '.join(LOWERED)}")
        try:
            return replace(self.spec, **changes)
        except ValueError as error:
            raise _wrong("agentserve", f"a budget that can be: {error}") from None

    def _lowered(self, name: str, value: object) -> object:
        limit = getattr(self.spec, name)
        if isinstance(value, bool) or not isinstance(value, (int, float) if name == "takeover" else int):
            raise _wrong(f"agentserve.{name}", "a number")
        if value > limit:
            raise _wrong(f"agentserve.{name}", f"at most {limit}, the operator's limit")
        return value


def _wrong(param: str, must: str) -> ApiError:
    return ApiError(400, f"{param} must be {must}", param=param, code="invalid_value")
