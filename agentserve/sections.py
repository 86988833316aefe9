"""What the sections of the configuration file are made of: strict mappings, counts and durations."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Section(BaseModel):
    """A mapping of the file. Values are not guessed: a number in quotes is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, value: object) -> object:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, 1, cutoff=0.0)[0]
                    facts = {"key": str(key), "near": repr(near), "valid": ", ".join(cls.model_fields)}
                    raise PydanticCustomError(
                        "unknown_key", "unknown key; did you mean {near}? (valid: {valid})", facts
                    )
        return value


def _in_seconds(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", value) if isinstance(value, str) else None
    return float(match[1]) * UNITS[match[2]] if match else value


Count = Annotated[int, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Duration = Annotated[Factor, BeforeValidator(_in_seconds)]
"""Seconds, as a number; or with a unit: 30s, 10m, 1h."""
