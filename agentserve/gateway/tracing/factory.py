"""Makes the tracing that a configuration asks for, if what it needs is installed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from agentserve.config import TracingSection
from agentserve.gateway.driver import Driver

if TYPE_CHECKING:
    from agentserve.gateway.tracing.spans import CallSpans


class TracingError(Exception):
    """Spans cannot be made. The message says what to do."""


def check_tracing() -> None:
    """Raises `TracingError` if the SDK is not installed."""
    try:
        found = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if not found:
        raise TracingError("tracing: it needs OpenTelemetry; install it with: pip install 'agentserve[tracing]'")


@contextmanager
def tracing(section: TracingSection, driver: Driver) -> Iterator[CallSpans]:
    """What makes spans of a driver's calls; on leaving, all are sent.

    Raises:
        TracingError: the SDK is not installed.
    """
    check_tracing()
    from agentserve.gateway.tracing.exporter import provider_to
    from agentserve.gateway.tracing.spans import CallSpans

    provider = provider_to(section.endpoint, section.service)
    start = time.time() - driver.now()
    spans = CallSpans(
        provider.get_tracer("agentserve"), start, lambda program: program in driver.brain.programs, driver.parent_of
    )
    try:
        yield spans
    finally:
        spans.close()
        provider.shutdown()
