"""Traces of agents and LLM requests, public ones and our own recordings, as programs."""

from workloads.traces.trace import Gaps, Trace, load

__all__ = ["Gaps", "Trace", "load"]
