"""The formats of traces, and how one is told from another by what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from workloads.program import Program
from workloads.traces.azure import read_azure
from workloads.traces.blocks import read_blocks
from workloads.traces.damage import Damage
from workloads.traces.native import read_native
from workloads.traces.recording import read_recording
from workloads.traces.sessions import read_sessions
from workloads.traces.source import Source
from workloads.traces.spans import read_spans
from workloads.traces.text2sql import read_text2sql

_HEAD = 256 * 1024
"""Bytes at a file's beginning within which its format shows."""

Reader: TypeAlias = Callable[[Source, Damage], Iterator[Program]]


@dataclass(frozen=True, slots=True)
class Format:
    """A form of trace: its name, what every file of it begins with, and what reads it."""

    name: str
    signs: tuple[re.Pattern[bytes], ...]
    read: Reader


def _format(name: str, read: Reader, *signs: bytes) -> Format:
    return Format(name, tuple(re.compile(sign) for sign in signs), read)


FORMATS = (
    _format("programs", read_native, rb'\A\s*\{"schema":\s*"agentserve\.programs"'),
    _format("recording", read_recording, rb'\A\s*\{"schema":\s*"agentserve\.recording"'),
    _format("Azure LLM requests", read_azure, rb"\A(?:\xef\xbb\xbf)?TIMESTAMP,ContextTokens,GeneratedTokens\s"),
    _format("Text-to-SQL workflows", read_text2sql, rb"\A\s*\[", rb'"Text2SQLRequest"\s*:'),
    _format("OpenTelemetry spans", read_spans, rb"\A\s*\{", rb'"(?:spans|resourceSpans)"\s*:'),
    _format("coding-agent sessions", read_sessions, rb"\A\s*\{", rb'"block_size"\s*:', rb'"requests"\s*:'),
    _format("requests with block hashes", read_blocks, rb'"input_length"\s*:', rb'"output_length"\s*:'),
)
"""The first that fits counts."""


def detect(source: Source) -> Format | None:
    """The file's format; None if it is no trace."""
    head = source.head(_HEAD)
    return next((known for known in FORMATS if all(sign.search(head) for sign in known.signs)), None)
