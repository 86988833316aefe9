"""What the sections of a configuration have in common: how a mapping is checked, and the kinds of values."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError


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


def _as_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def in_seconds(value: object) -> object:
    """A duration with a unit as seconds; anything else as it is."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d)", value) if isinstance(value, str) else None
    return float(match[1]) * UNITS[match[2]] if match else value


UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

Text = Annotated[str, BeforeValidator(_as_text)]
"""A word for a command line or an environment, where YAML may read a number."""

PathText = Annotated[Path, Field(strict=False)]
Name = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
Count = Annotated[int, Field(gt=0)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Duration = Annotated[Factor, BeforeValidator(in_seconds)]
"""Seconds, as a number; or with a unit: 30s, 10m, 1h, 7d."""


def _base_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"an engine's url begins with http:// or https://, not {value!r}")
    return value.rstrip("/").removesuffix("/v1")


BaseUrl = Annotated[str, AfterValidator(_base_url), Field(json_schema_extra={"pattern": "^https?://"})]
"""Where an engine answers."""


class UnreadableError(ValueError):
    """A file that cannot be read as YAML. The message names it."""


def read_yaml(path: Path) -> object:
    """What a YAML or JSON file holds.

    Raises:
        UnreadableError: it is missing, no text, or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnreadableError(f"{path} cannot be read: {error}") from error


def repeated(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def problem(error: ErrorDetails) -> str:
    """One line on a mistake: the key's path and what is wrong with it."""
    context = error.get("ctx", {})
    if error["type"] == "unknown_key":
        return f"{_path(*error['loc'], context['key'])}: {error['msg']}"
    if error["type"] == "missing":
        return f"{_path(*error['loc'])}: this key is missing"
    message = str(context["error"]) if "error" in context else f"{error['msg']}, not {error['input']!r}"
    return f"{_path(*error['loc'])}: {message}" if error["loc"] else message


def _path(*parts: int | str) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
