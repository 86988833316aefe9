"""Runs the same questions at the same times on each side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentserve.engines.base import EngineError, Progress
from agentserve.text2sql.arms import BASELINE, OURS, Arm
from agentserve.text2sql.engines import MODEL_NAME, Engines
from scheduler.types import Seconds
from workloads.text2sql.agent import Settings
from workloads.text2sql.load import Played, Prepared, arrivals, play

OnAnswer = Callable[[Played], None]
ALONE = 3
"""Questions asked one after the other, to learn how long one takes alone."""
AT_ONCE = 16
"""Questions asked at the same time, to learn how many round robin can answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What was found out before the comparison: seconds a question takes alone, questions a second at saturation."""

    alone: Seconds
    saturation: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Engines that are up, with what both sides share. `folder` takes their logs and what they learn."""

    engines: Engines
    folder: Path
    settings: Settings
    progress: Progress

    async def alone(self, prepared: Sequence[Prepared], on_answer: OnAnswer | None = None) -> Seconds:
        """The mean latency of questions that are asked one after the other through agentserve, which learns from it.

        Raises:
            EngineError: a gateway did not come up, or a question was not answered.
        """
        answered = []
        async with OURS.gateway(self.engines, self.folder, self.progress) as gateway:
            for item in prepared:
                answered += await play([item], [0.0], gateway.url, self.settings, on_answer=on_answer)
        return math.fsum(played.latency for played in _all_answered(answered)) / len(answered)

    async def saturation(self, prepared: Sequence[Prepared], on_answer: OnAnswer | None = None) -> float:
        """How many questions a second round robin answers when all of them are there at once.

        Raises:
            EngineError: as `alone`.
        """
        await self.engines.forget()
        async with BASELINE.gateway(self.engines, self.folder, self.progress) as gateway:
            played = await play(prepared, [0.0] * len(prepared), gateway.url, self.settings, on_answer=on_answer)
        return len(prepared) / max(each.ended for each in _all_answered(played))

    async def run(
        self,
        arm: Arm,
        prepared: Sequence[Prepared],
        rate: float,
        seed: int,
        slo: Seconds,
        on_answer: OnAnswer | None = None,
    ) -> list[Played]:
        """The questions at `rate` a second on one side, whose engines have forgotten all before.

        Raises:
            EngineError: the gateway did not come up.
        """
        await self.engines.forget()
        times = arrivals(len(prepared), rate, seed)
        async with arm.gateway(self.engines, self.folder, self.progress) as gateway:
            return await play(prepared, times, gateway.url, self.settings, slo, on_answer)


def settings(max_revise: int, seed: int) -> Settings:
    """The agent's, on the engines' model."""
    return Settings(MODEL_NAME, max_revise=max_revise, seed=seed)


def _all_answered(played: Sequence[Played]) -> Sequence[Played]:
    for each in played:
        if each.error:
            raise EngineError(f"question {each.question} was not answered: {each.error}")
    return played
