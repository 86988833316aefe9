"""Where spans go: an OTLP collector, by the SDK that the extra `tracing` installs."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from agentserve import __version__


def provider_to(endpoint: str, service: str) -> TracerProvider:
    """Exports in batches, by a thread of its own. `endpoint` is the collector's base URL."""
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")))
    return provider
