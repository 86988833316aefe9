"""From the configuration to sources."""

from __future__ import annotations

from agentserve.discovery.base import EngineSource
from agentserve.discovery.file import FileSource
from agentserve.discovery.registry import RegistrySource
from agentserve.discovery.section import DiscoverySection


def build_sources(section: DiscoverySection, registry: RegistrySource | None) -> dict[str, EngineSource]:
    """The sources by the words of the configuration."""
    sources: dict[str, EngineSource] = {}
    if section.file is not None:
        sources["file"] = FileSource(section.file)
    if registry is not None:
        sources["http"] = registry
    return sources
