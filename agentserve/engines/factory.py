"""From the configuration to engines that can be started."""

from __future__ import annotations

import os
from pathlib import Path

from agentserve.config import Config, EngineSection
from agentserve.discovery.section import Entry
from agentserve.engines.attached import AttachedEngine
from agentserve.engines.command import HOST
from agentserve.engines.in_process import InProcessEngine
from agentserve.engines.launched import LaunchedEngine
from agentserve.engines.probe import Known
from scheduler.types import EngineId


def default_logs() -> Path:
    """The folder for the logs of launched engines: one file an engine, written anew with every gateway."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentserve" / "logs"


def build_engines(config: Config, logs: Path) -> list[AttachedEngine]:
    """All engines of all pools, in the order of the file; none is started."""
    return [build_engine(engine, pool.model, logs) for pool, engine in config.engines]


def build_engine(section: EngineSection, model: str, logs: Path, host: str = HOST) -> AttachedEngine:
    """One engine of the pool `model`, which is not started; one of our own listens on `host`."""
    name = EngineId(section.name)
    if section.launch is not None:
        return LaunchedEngine(name, section.launch, model, logs / f"{section.name}.log", host)
    if section.emulated is not None:
        return InProcessEngine(name, section.emulated, model, host)
    known = Known(model, section.kv_tokens, section.priority, section.max_num_seqs)
    return AttachedEngine(name, section.url or "", known)


def build_listed(entry: Entry) -> AttachedEngine:
    """An engine that was discovered."""
    known = Known(entry.model, entry.kv_tokens, entry.priority, entry.max_num_seqs, entry.speed)
    return AttachedEngine(EngineId(entry.name), entry.url, known)
