"""The cluster file: which engines and gateways run on a Ray cluster, and on what hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from agentserve.config import Config, ConfigError, Emulated, Launch, parse
from agentserve.sections import (
    Amount,
    Count,
    Duration,
    Name,
    PathText,
    Section,
    UnreadableError,
    problem,
    read_yaml,
    repeated,
)


class EngineGroup(Section):
    """Engines that are alike. `launch` or `emulated` says what they are, the rest where they may run and how many."""

    name: Annotated[Name, Field(min_length=1)]
    model: str = Field(min_length=1)
    launch: Launch | None = None
    emulated: Emulated | None = None
    cpus: Amount = 1.0
    gpus: Amount = 0.0
    resources: dict[str, Amount] = Field(default_factory=dict)
    """Ray's custom resources that each takes."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Ray's labels that a node must have, as `ray start --labels` gives them."""
    min: Annotated[int, Field(ge=0)] = 1
    """None may stay where it is 0: calls are then held until one has started."""
    max: Count | None = None
    """How many there may be; as many as `min` where it is left out."""
    kv_tokens: Count | None = None
    """KV tokens that one holds, to scale by; needed where `max` is above `min`."""
    cold_start: Duration = 120.0
    """How long one takes until it serves, until that has been measured."""
    idle: Duration = 300.0
    """How long the last one is kept for nobody, where `min` is 0."""

    @property
    def most(self) -> int:
        """The most that there may be."""
        return self.max or max(self.min, 1)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.launch is None) == (self.emulated is None):
            raise ValueError("an engine group has exactly one of launch and emulated")
        if self.most < self.min:
            raise ValueError(f"max ({self.most}) is below min ({self.min})")
        if self.most > self.min and self.kv_tokens is None and self.emulated is None:
            raise ValueError("to scale from min to max, kv_tokens must say how many KV tokens one engine holds")
        return self

    @property
    def capacity(self) -> int:
        """KV tokens that one holds."""
        return self.kv_tokens or (self.emulated.kv_tokens if self.emulated else 0)


class GatewaySection(Section):
    """The gateways. The brain is in one of them."""

    replicas: Count = 1
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, lt=65536)] = 8000
    """On each node that has one; 0 for any that is free."""
    resources: dict[str, Amount] = Field(default_factory=dict)
    """Ray's custom resources that each takes, to say on which nodes gateways run."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Further keys of a gateway's configuration: policy, store, keys, limits, ..."""
    admin_key_file: PathText | None = None
    """A file that holds an admin key, where `config` has `keys`."""


class ClusterFile(Section):
    """The whole file."""

    name: Annotated[Name, Field(min_length=1)] = "agentserve"
    address: str = Field(min_length=1)
    """Of the Ray cluster: `auto`, HOST:PORT, or `local` for one on this machine."""
    engines: list[EngineGroup] = Field(min_length=1)
    gateway: GatewaySection = GatewaySection()
    drain: Duration = 60.0
    """How long an engine that leaves has for its calls and programs."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if (twice := repeated(group.name for group in self.engines)) is not None:
            raise ValueError(f"engines: the name {twice!r} is used more than once")
        return self

    @model_validator(mode="after")
    def _gateways_work(self) -> Self:
        config = self.gateway_config("127.0.0.1:8000")
        if self.gateway.replicas > 1 and config.store is None:
            raise ValueError(
                "gateway: several need a store that they share; name a Redis server in gateway.config.store"
            )
        if config.keys is not None and self.gateway.admin_key_file is None:
            raise ValueError("gateway: engines are registered with an admin key; name its file with admin_key_file")
        return self

    def gateway_settings(self, listen: str) -> dict[str, object]:
        """A gateway's configuration."""
        models = dict.fromkeys(group.model for group in self.engines)
        kept = {group.model for group in self.engines if group.min}
        pools = [{"model": model, "on_demand": model not in kept} for model in models]
        discovery = {"http": True, "drain": self.drain}
        return {**self.gateway.config, "listen": listen, "pools": pools, "discovery": discovery}

    def gateway_config(self, listen: str) -> Config:
        """The same, checked. Raises `ValueError` if something in it is wrong."""
        try:
            return parse(self.gateway_settings(listen))
        except ConfigError as error:
            raise ValueError(f"gateway.config: {error}") from None


def parse_cluster(value: object, place: str) -> ClusterFile:
    """A cluster file from plain data. Raises `ConfigError`, one line a mistake."""
    try:
        return ClusterFile.model_validate(value)
    except ValidationError as error:
        lines = (f"{place}: {problem(each)}" for each in error.errors(include_url=False))
        raise ConfigError("\n".join(lines)) from None


def load_cluster(path: Path) -> ClusterFile:
    """Reads a cluster file. Raises `ConfigError` if it cannot be read or something in it is wrong."""
    try:
        value = read_yaml(path)
    except UnreadableError as error:
        raise ConfigError(str(error)) from error
    return parse_cluster(value, str(path))
