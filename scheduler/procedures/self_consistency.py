"""Self-consistency: samples of one model, and the answer that most of them give (arXiv 2203.11171)."""

from __future__ import annotations

from scheduler.procedures.base import Command, News, Step
from scheduler.procedures.sampling import Sample, Sampling


class SelfConsistency(Sampling):
    """Samples are written segment by segment, so that they can be ended early."""

    def _then(self, sample: Sample, step: Step, news: News, rate: float) -> list[Command]:
        return self._wrote(sample, step, news)
