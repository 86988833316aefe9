"""Clients of the `openai` and `anthropic` packages as a program's. Neither package is imported here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

Sdk = TypeVar("Sdk")

PATHS = {"openai": "/v1", "anthropic": ""}
"""What the packages' base URLs end with."""


class LiveHeaders(Mapping[str, Any]):
    """A client's own headers and a program's, as they are at the time of each call: a deadline counts down."""

    def __init__(self, own: Mapping[str, Any], headers: Callable[[], Mapping[str, str]]) -> None:
        self._own = own
        self._headers = headers

    def __getitem__(self, name: str) -> Any:
        return {**self._own, **self._headers()}[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._own, **self._headers()})

    def __len__(self) -> int:
        return len({**self._own, **self._headers()})


def wrap(sdk: Sdk, base_url: str, headers: Callable[[], Mapping[str, str]]) -> Sdk:
    """A copy of the client that sends to `base_url`, with the headers that `headers` returns at the time.

    Raises:
        TypeError: it is no client of these packages.
    """
    packages = {kind.__module__.partition(".")[0] for kind in type(sdk).__mro__}
    package = next((name for name in PATHS if name in packages), None)
    if package is None or not hasattr(sdk, "with_options"):
        raise TypeError(
            f"wrap() takes a client of the openai or anthropic package, not {type(sdk).__name__}; "
            "pass program.headers() to others"
        )
    copy = cast("Any", sdk).with_options(base_url=base_url + PATHS[package], default_headers=dict(headers()))
    own = {name: value for name, value in copy._custom_headers.items() if not name.startswith("x-agentserve-")}
    copy._custom_headers = LiveHeaders(own, headers)
    return cast("Sdk", copy)
