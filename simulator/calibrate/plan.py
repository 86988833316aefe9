"""Which points an engine is timed at: enough of every regime for the fit, and none that it could not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scheduler.types import Tokens
from simulator.calibrate.observation import Regime

PREFILLS: tuple[Tokens, ...] = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SHORT: Tokens = 64
LONG: Tokens = 8192
LONG_TOTAL: Tokens = 65_536
"""Contexts of one batch are no longer than this together, for they have to be prefilled first."""

DECODE_STEPS = 24
"""Steps in which the whole batch decodes."""

MIXED_BATCHES = (2, 8, 32)
MIXED_PREFILLS: tuple[Tokens, ...] = (128, 300, 1000)
MIXED_CONTEXT: Tokens = 400
MIXED_STEPS = 32
MEMORY_SHARE = 0.8
"""Of the KV memory and of the longest context, that points use: tokens of text are known only about."""


class Point(NamedTuple):
    """What to time: `batch` requests decode with `tokens` of context, or a prompt of `tokens` comes to them."""

    regime: Regime
    batch: int
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Sizes:
    """What an engine can hold."""

    max_model_len: Tokens
    kv_tokens: Tokens
    max_num_batched_tokens: Tokens
    max_num_seqs: int

    @property
    def longest(self) -> Tokens:
        """The longest context of a point."""
        return int(MEMORY_SHARE * min(self.max_model_len, self.kv_tokens))

    def holds(self, batch: int, context: Tokens) -> bool:
        """Whether so many such contexts fit at once."""
        return (
            batch <= self.max_num_seqs and context <= self.longest and batch * context <= MEMORY_SHARE * self.kv_tokens
        )


def points(sizes: Sizes) -> list[Point]:
    """One round of points. A prefill point times its prompt a second time too, from the cache."""
    return [*_prefills(sizes), *_decodes(sizes), *_mixed(sizes)]


def decode_output(batch: int, context: Tokens, max_num_batched_tokens: Tokens) -> Tokens:
    """Output tokens of each request, so that all of the batch decode while the first admitted one still does."""
    return DECODE_STEPS - (-batch * context // max_num_batched_tokens)


def _prefills(sizes: Sizes) -> Iterator[Point]:
    for tokens in sorted({*(tokens for tokens in PREFILLS if tokens < sizes.longest), sizes.longest}):
        yield Point(Regime.PREFILL, 0, min(tokens, PREFILLS[-1]))


def _decodes(sizes: Sizes) -> Iterator[Point]:
    for batch in BATCHES:
        room = int(MEMORY_SHARE * sizes.kv_tokens / batch)
        long = min(LONG, LONG_TOTAL // batch, sizes.longest, room)
        for context in (SHORT, long - decode_output(batch, long, sizes.max_num_batched_tokens)):
            output = decode_output(batch, context, sizes.max_num_batched_tokens)
            if context >= SHORT and sizes.holds(batch, context + output):
                yield Point(Regime.DECODE, batch, context)


def _mixed(sizes: Sizes) -> Iterator[Point]:
    for batch in MIXED_BATCHES:
        for tokens in MIXED_PREFILLS:
            one_step = tokens + batch <= sizes.max_num_batched_tokens
            decoding = batch * (MIXED_CONTEXT + MIXED_STEPS)
            if one_step and sizes.holds(batch + 1, (decoding + tokens) // (batch + 1)) and tokens < sizes.longest:
                yield Point(Regime.MIXED, batch, tokens)
