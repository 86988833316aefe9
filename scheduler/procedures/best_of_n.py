"""Best of n: samples of one model, and the answer of the one of which the model was most certain.

The measure is the mean log-probability of its tokens, which every engine reports.
"""

from __future__ import annotations

from dataclasses import replace

from scheduler.procedures.base import ProcedureSpec, Vote
from scheduler.procedures.self_consistency import SelfConsistency


class BestOfN(SelfConsistency):
    """All samples run to their end, for any of them may be the best."""

    def __init__(self, spec: ProcedureSpec) -> None:
        super().__init__(replace(spec, vote=Vote.BEST))
