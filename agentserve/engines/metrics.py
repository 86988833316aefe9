"""What vLLM says about itself on its Prometheus page: its load, and the size of its KV memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
USAGE = "vllm:kv_cache_usage_perc"
CACHE = "vllm:cache_config_info"
NAMES = (RUNNING, WAITING, USAGE, CACHE)


@dataclass(frozen=True, slots=True)
class Scrape:
    """The few samples we use. `kv_usage` is the share (0 to 1) of KV memory that running requests reference."""

    running: int
    waiting: int
    kv_usage: float
    ranks: frozenset[str]
    """The data-parallel ranks that report on this page."""
    blocks: int | None
    """KV blocks in all, of which vLLM keeps one for itself; None where the page does not tell."""
    block_size: int | None
    """Tokens a block."""

    @property
    def kv_tokens(self) -> int | None:
        """The tokens that fit into the KV memory."""
        if self.blocks is None or self.block_size is None:
            return None
        return (self.blocks - 1) * self.block_size


def read(page: str) -> Scrape | None:
    """Reads a metrics page; None if it is not vLLM's.

    Raises:
        ValueError: it is no Prometheus page.
    """
    samples = list(_samples(page))
    if not any(sample.name == RUNNING for sample in samples):
        return None
    cache = next((sample.labels for sample in samples if sample.name == CACHE), {})
    return Scrape(
        running=int(_sum(samples, RUNNING)),
        waiting=int(_sum(samples, WAITING)),
        kv_usage=_sum(samples, USAGE),
        ranks=frozenset(sample.labels.get("engine", "") for sample in samples if sample.name == RUNNING),
        blocks=_count(cache.get("num_gpu_blocks")),
        block_size=_count(cache.get("block_size")),
    )


def _samples(page: str) -> Iterator[Sample]:
    # a page has hundreds of histogram lines, and parsing them all would hold up the event loop for milliseconds
    lines = [line for line in page.splitlines() if line.startswith(NAMES)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        yield from family.samples


def _sum(samples: list[Sample], name: str) -> float:
    return sum(sample.value for sample in samples if sample.name == name)


def _count(label: str | None) -> int | None:
    return int(label) if label is not None and label.isdecimal() else None
