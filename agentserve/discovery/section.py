"""What is said of an engine that joins, and where the configuration looks for such engines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentserve.sections import BaseUrl, Count, Duration, Factor, Name, PathText, Section


class Entry(Section):
    """One engine of a list."""

    name: Annotated[Name, Field(min_length=1)]
    url: BaseUrl
    model: str = Field(min_length=1)
    """The pool that it joins."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Words of its operator's, which are shown."""
    speed: Factor | None = None
    """Prompt tokens that it prefills in a second: where learning begins."""
    kv_tokens: Count | None = None
    """For an engine that does not report how many KV tokens it holds."""
    priority: bool = False
    """For one that runs with --scheduling-policy priority."""
    max_num_seqs: Count | None = None
    """For one without the plugin: its --max-num-seqs."""


class EngineList(Section):
    """A whole list."""

    engines: list[Entry]


class DiscoverySection(Section):
    """Where engines are looked for beside those of the file. What one list says is not lost when another fails."""

    file: PathText | None = None
    """A list of engines, YAML or JSON, which is read again when it changes."""
    http: bool = False
    """Whether engines may be registered by POST /agentserve/v1/engines."""
    drain: Duration = 60.0
    """How long an engine that leaves has for the calls it runs and for programs to move."""
