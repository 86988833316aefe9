"""What a trainer sends and gets, whichever way it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import httpx

from agentserve.client.errors import refused

ROUTE = "/agentserve/v1/rollouts"
Prompt = str | Sequence[int] | Sequence[dict[str, Any]]
"""A text, tokens, or the messages of a chat."""
Mode = Literal["wait", "keep", "abort"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens `start` to `end` (exclusive) of a sample: written by that engine, with that version of the weights."""

    version: int
    engine: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample.

    Attributes:
        program: the program that it is of: further calls may go on with it.
        token_ids: its tokens, each with its log-probability in `logprobs` (None where the engine did not tell it).
        segments: which weights wrote which tokens.
        lag: how many versions its oldest token is behind the latest weights.
        finish_reason: `stop`, `length`, `abort`, `stale` (an update made it too old) or `error`; the last three have the
            tokens that were there.
        error: what went wrong, where it is `error`.
    """

    program: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    segments: tuple[Segment, ...]
    lag: int
    finish_reason: str
    error: str | None = None

    @property
    def versions(self) -> tuple[int, ...]:
        """The version that wrote each token."""
        return tuple(each.version for each in self.segments for _ in range(each.start, each.end))


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of one prompt, and the latest version of the weights when the last of them had ended."""

    group: str
    version: int
    prompt_token_ids: tuple[int, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model's rollouts are: `version` is the latest, `engines` has that of each, `broken` why some get no calls."""

    version: int
    engines: dict[str, int]
    broken: dict[str, str]
    paused: bool
    writing: int
    submitted: int
    batch: int | None
    lag: int | None


def group_fields(
    prompt: Prompt, n: int, max_tokens: int, group: str, workflow: str, parent: str | None, goes_on: bool
) -> dict[str, Any]:
    """The body of a group, without its model and sampling parameters."""
    chat = not isinstance(prompt, str) and bool(prompt) and isinstance(prompt[0], dict)
    asked = prompt if isinstance(prompt, str) else list(prompt)
    said = {"group": group, "workflow": workflow, "parent": parent, "goes_on": goes_on}
    return {"messages" if chat else "prompt": asked, "n": n, "max_tokens": max_tokens, **said}


def update_fields(
    version: int, path: str | None, steps: Sequence[tuple[str, object]], drain: float | None
) -> dict[str, Any]:
    """The body of an update of weights, without its model."""
    relayed = [{"path": route, "body": body} for route, body in steps]
    return {"version": version, "path": path, "steps": relayed, "drain": drain}


def read_group(response: httpx.Response) -> Group:
    """Raises `AgentserveError` if it is an error."""
    said = read(response)
    samples = tuple(_sample(each) for each in said["samples"])
    return Group(said["group"], said["version"], tuple(said["prompt_token_ids"]), samples)


def read_standing(response: httpx.Response) -> Standing:
    """Raises `AgentserveError` if it is an error."""
    said = read(response)
    return Standing(**{each.name: said[each.name] for each in fields(Standing)})


def read(response: httpx.Response) -> dict[str, Any]:
    """Raises `AgentserveError` if it is an error."""
    if response.is_error:
        raise refused(response)
    said: dict[str, Any] = response.json()
    return said


def _sample(said: dict[str, Any]) -> Sample:
    segments = tuple(Segment(**each) for each in said["segments"])
    ids, logprobs = tuple(said["token_ids"]), tuple(said["logprobs"])
    end = said["finish_reason"]
    return Sample(said["program"], said["text"], ids, logprobs, segments, said["lag"], end, said["error"])
