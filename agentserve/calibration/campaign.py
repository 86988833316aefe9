"""Timing every point of a plan, round after round, until enough or the time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

from agentserve.calibration.stream import Completions, Stream
from agentserve.engines.base import EngineError
from scheduler.types import Seconds, Tokens
from simulator.calibrate.observation import Observation, Regime, prefill_step, prefill_steps
from simulator.calibrate.plan import MIXED_CONTEXT, MIXED_STEPS, Point, decode_output
from simulator.profile import StepWork
from workloads.synth import text

SAMPLE_WORDS = 200
"""Of the first prompt, which tells how many tokens a word has."""

MIXED_AFTER = 4
"""Tokens that each request of a batch has had before another prompt comes to it."""


class Campaign:
    """Times one engine. Its prompts begin with `seed`'s text, so that no cache holds them from an earlier run."""

    def __init__(
        self, completions: Completions, max_num_batched_tokens: Tokens, block_size: Tokens | None, seed: str
    ) -> None:
        self._completions = completions
        self._budget = max_num_batched_tokens
        self._block_size = block_size
        self._seed = seed
        self._prompts = 0
        self._tokens_per_word = 1.0

    async def run(
        self, points: Sequence[Point], rounds: int, limit: Seconds, progress: Callable[[Point], None]
    ) -> list[Observation]:
        """Times every point once a round, and stops in the middle of one when `limit` seconds are over.

        Raises:
            EngineError: the engine failed.
        """
        observations: list[Observation] = []
        try:
            async with asyncio.timeout(limit):
                await self._count_tokens()
                for point in rounds * list(points):
                    observations += await self.observe(point)
                    progress(point)
        except TimeoutError:
            pass  # what there is may be enough; the fit says so if it is not
        return observations

    async def observe(self, point: Point) -> list[Observation]:
        """Times one point once. It gives nothing if no step could be told from the others.

        Raises:
            EngineError: the engine failed.
        """
        try:
            match point.regime:
                case Regime.PREFILL | Regime.CACHED:
                    return await self._prefill(point.tokens)
                case Regime.DECODE:
                    return await self._decode(point.batch, point.tokens)
                case Regime.MIXED:
                    return await self._mixed(point.batch, point.tokens)
        except ExceptionGroup as group:  # of a batch's requests the first to fail ends the others
            raise group.exceptions[0] from group

    async def _count_tokens(self) -> None:
        """Learns a word's tokens; this request also is the first, which warms the engine up."""
        first = await self._completions.run(text(f"{self._seed}/sample", SAMPLE_WORDS), 2)
        self._tokens_per_word = first.prompt / SAMPLE_WORDS

    def _prompt(self, tokens: Tokens) -> str:
        self._prompts += 1
        return text(f"{self._seed}/{self._prompts}", max(1, round(tokens / self._tokens_per_word)))

    async def _prefill(self, tokens: Tokens) -> list[Observation]:
        prompt = self._prompt(tokens)
        fresh = await self._completions.run(prompt, 1)
        again = await self._completions.run(prompt, 1)
        observations = [self._first_token(Regime.PREFILL, tokens, fresh, fresh.cached or 0)]
        cached = self._assumed_hit(again) if again.cached is None else again.cached
        if cached:
            observations.append(self._first_token(Regime.CACHED, tokens, again, cached))
        return observations

    def _first_token(self, regime: Regime, tokens: Tokens, stream: Stream, cached: Tokens) -> Observation:
        steps = prefill_steps(stream.prompt, cached, self._budget)
        return Observation(regime, (tokens,), steps, stream.ttft, whole_request=True)

    def _assumed_hit(self, stream: Stream) -> Tokens:
        """What a prompt finds that was just served: all full blocks before its last token."""
        return 0 if self._block_size is None else (stream.prompt - 1) // self._block_size * self._block_size

    async def _decode(self, batch: int, context: Tokens) -> list[Observation]:
        output = decode_output(batch, context, self._budget)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._completions.run(self._prompt(context), output)) for _ in range(batch)]
        streams = [task.result() for task in tasks]
        begin, end = max(stream.times[0] for stream in streams), min(stream.times[-1] for stream in streams)
        gaps: list[Seconds] = []
        contexts = 0.0
        for stream in streams:
            inside = [
                (index, later - earlier)
                for index, (earlier, later) in enumerate(pairwise(stream.times))
                if earlier >= begin and later <= end
            ]
            if not inside:
                return []
            gaps += [gap for _, gap in inside]
            contexts += stream.prompt + median(index for index, _ in inside)
        work = StepWork(decode_batch=batch, decode_context=round(contexts))
        return [Observation(Regime.DECODE, (batch, context), (work,), _typical(gaps))]

    async def _mixed(self, batch: int, tokens: Tokens) -> list[Observation]:
        """A prompt comes to a decoding batch: the step that computes it is the longest while it waits."""
        ready = [asyncio.Event() for _ in range(batch)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._completions.run(self._prompt(MIXED_CONTEXT), self._mixed_output(batch), *wait))
                for wait in ((event, MIXED_AFTER) for event in ready)
            ]
            for event in ready:
                await event.wait()
            newcomer = await self._completions.run(self._prompt(tokens), 1)
        gaps: list[Seconds] = []
        contexts = 0
        for stream in (task.result() for task in tasks):
            waiting = [
                (later - earlier, index)
                for index, (earlier, later) in enumerate(pairwise(stream.times))
                if later > newcomer.sent and earlier < newcomer.times[0]
            ]
            if not waiting:
                return []
            gap, index = max(waiting)
            gaps.append(gap)
            contexts += stream.prompt + index
        work = prefill_step(newcomer.cached or 0, newcomer.prompt - (newcomer.cached or 0), batch, contexts)
        return [Observation(Regime.MIXED, (batch, tokens), (work,), _typical(gaps))]

    def _mixed_output(self, batch: int) -> Tokens:
        """Tokens enough that the first of the batch still decodes when the prompt comes."""
        return MIXED_STEPS - (-batch * MIXED_CONTEXT // self._budget)


def _typical(gaps: Sequence[Seconds]) -> Seconds:
    """The median of the times between tokens.

    Raises:
        EngineError: most of them are none at all.
    """
    middle = median(gaps)
    if middle <= 0:
        raise EngineError(
            "most tokens came together with the one before: the engine's server, or something between it and here, "
            "joins them, so that its steps cannot be timed from outside"
        )
    return middle
