"""Continuum's time-to-live (arXiv 2511.02230, version 6).

With S[f] the observed gaps of tool f, S those of all tools, P their empirical CDF, T the mean queueing delay of calls
whose KV had been evicted, eta = -Corr(k, N - k) over the served turns k of N, and PR(n) the time to prefill n tokens:

    B   = T * eta + PR(n)
    TTL = argmax over tau in {0} and S_used of  P(tau) * B - tau

S_used is S[f] once it has more than K samples, else S once it has. Before that the gap is taken as exponential with
mean 1 s and eta as 1, for which the maximum is at ln(T + PR) if T + PR > 1, else at 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds
from scheduler.view import View


@dataclass(frozen=True, slots=True)
class Continuum:
    """The time-to-live that Continuum's cost model gives the tool that was called.

    `k` is the rule's K; `bridge` is the pin that travels with a request until the rule's own arrives.
    """

    k: int = 100
    bridge: float = 2.0

    def at_dispatch(self, view: View, call: Call, engine: EngineState) -> Seconds:
        return self.bridge

    def at_finish(self, view: View, program: Program, engine: EngineState) -> Seconds:
        learned = view.learned
        delay = learned.mean_eviction_delay
        prefill = view.prefill_seconds(engine, program.context)
        samples = self._samples(view, program)
        if samples is None:
            return math.log(delay + prefill) if delay + prefill > 1.0 else 0.0
        return best_ttl(samples, delay * learned.turns.eta + prefill)

    def _samples(self, view: View, program: Program) -> Sequence[Seconds] | None:
        gaps = view.learned.gaps
        tenant = program.key.tenant
        if gaps.total(tenant) <= self.k:
            return None
        tool = gaps.slowest(tenant, program.gap_tools)
        return gaps.samples(tenant, tool) if gaps.count(tenant, tool) > self.k else gaps.all_samples(tenant)


def best_ttl(samples: Sequence[Seconds], benefit: Seconds) -> Seconds:
    """The tau in {0} and `samples` (ascending) with the largest P(tau) * benefit - tau; the smallest of equals.

    P <= 1, so no tau from `benefit` on can gain anything.
    """
    best, best_gain = 0.0, 0.0
    count = len(samples)
    for index in range(bisect_left(samples, benefit)):
        tau = samples[index]
        if index + 1 < count and samples[index + 1] == tau:
            continue
        gain = (index + 1) / count * benefit - tau
        if gain > best_gain:
            best, best_gain = tau, gain
    return best
