"""Events to and from plain JSON values: an object with the event's name as `event` and its fields as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from scheduler.actions import Action
from scheduler.events import Event

_EVENTS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_ACTIONS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Action)}
_HINTS: dict[type, dict[str, Any]] = {}


def encode(event: Event) -> dict[str, object]:
    """An event as plain JSON values. Fields at their defaults are left out."""
    return {"event": type(event).__name__, **_plain_fields(event)}


def decode(record: Mapping[str, object]) -> Event:
    """The inverse of `encode`.

    Raises:
        ValueError: the record is no event.
    """
    event: Event = _decoded(record, "event", _EVENTS)
    return event


def encode_action(action: Action) -> dict[str, object]:
    """An action as plain JSON values, with its name as `action`."""
    return {"action": type(action).__name__, **_plain_fields(action)}


def decode_action(record: Mapping[str, object]) -> Action:
    """The inverse of `encode_action`.

    Raises:
        ValueError: the record is no action.
    """
    action: Action = _decoded(record, "action", _ACTIONS)
    return action


def _decoded(record: Mapping[str, object], sort: str, kinds: Mapping[str, type[Any]]) -> Any:
    name = record.get(sort)
    kind = kinds.get(str(name))
    if kind is None:
        raise ValueError(f"unknown {sort} {name!r}")
    try:
        return _object(kind, {key: value for key, value in record.items() if key != sort})
    except (TypeError, KeyError) as error:
        raise ValueError(f"malformed {name}: {error}") from error


def plain(value: object) -> object:
    """Any value that occurs in events and actions, as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _plain_fields(item: Any) -> dict[str, object]:
    return {
        field.name: plain(value)
        for field in fields(item)
        if (value := getattr(item, field.name)) != field.default or (field.default is None and value is not None)
    }


def _object(kind: type[Any], values: Mapping[str, object]) -> Any:
    hints = _HINTS.get(kind)
    if hints is None:
        hints = _HINTS[kind] = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], value) for name, value in values.items()})


def _typed(hint: Any, value: Any) -> Any:
    """The value as its annotation wants it: lists become tuples, objects dataclasses, strings enums."""
    if value is None or hint in (int, float, str, bool):
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return _typed(next(option for option in arguments if option is not type(None)), value)
    if origin is tuple:
        return _tuple(arguments, value)
    build: Callable[..., Any] = hint
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, value)
    if hasattr(hint, "_fields"):
        return build(*value)
    return build(value)


def _tuple(arguments: tuple[Any, ...], value: list[Any]) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is ...:
        return tuple(_typed(arguments[0], item) for item in value)
    return tuple(_typed(argument, item) for argument, item in zip(arguments, value, strict=True))
