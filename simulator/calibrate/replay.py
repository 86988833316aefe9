"""What a replay of programs tells of an engine's steps, from the records of a load client.

`agentserve calibrate` times an engine by itself. Where clients and the gateway run on the engine's own cores, they slow
it down, and a profile for such a system has to be measured on all of it: on programs like those that it will serve.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scheduler.types import Seconds, Tokens
from simulator.calibrate.observation import Observation, Regime, prefill_steps
from simulator.profile import StepWork
from workloads.records import CallRecord

FEWEST_STEPS = 8
"""An answer of fewer steps is no timing: its ends are known only to within one."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """A call that was answered."""

    sent: Seconds
    first: Seconds
    end: Seconds
    prompt: Tokens
    cached: Tokens
    output: Tokens

    @property
    def steps(self) -> int:
        """Steps that decoded it: its first token comes from a prefill."""
        return self.output - 1

    def time(self, step: int) -> Seconds:
        """When a step ended, 0 being the prefill; those between the first and the last are evenly spaced."""
        return self.first + (self.end - self.first) * step / self.steps

    def step_at(self, when: Seconds) -> int:
        """How many of its steps had ended."""
        return int((when - self.first) / (self.end - self.first) * self.steps)

    def decodes(self, when: Seconds) -> bool:
        """Whether it took part, as a decode, in a step that ended then."""
        return self.first < when <= self.end

    @property
    def prefill(self) -> StepWork:
        """The work of its prefill."""
        return prefill_steps(self.prompt, self.cached, self.prompt)[0]


def observations(replays: Sequence[Sequence[CallRecord]], max_num_batched_tokens: Tokens) -> list[Observation]:
    """Times the answers of replays, and the prompts that came to an idle engine.

    The engine must have had memory for all of its calls, and no call may have been held before it: waiting is taken
    for work. Calls that failed, or whose server does not report cached tokens, are left out.

    Args:
        replays: each on one engine.
        max_num_batched_tokens: the engine's own.
    """
    found: list[Observation] = []
    for number, records in enumerate(replays):
        streams = sorted(_streams(records), key=lambda stream: stream.first)
        for index, stream in enumerate(streams):
            point = number, index
            if stream.steps >= FEWEST_STEPS and stream.end > stream.first:
                steps = tuple(_steps(stream, streams))
                found.append(Observation(Regime.DECODE, point, steps, stream.end - stream.first))
            if _alone(stream, streams):
                regime = Regime.CACHED if stream.cached else Regime.PREFILL
                steps = prefill_steps(stream.prompt, stream.cached, max_num_batched_tokens)
                found.append(Observation(regime, point, steps, stream.first - stream.sent, whole_request=True))
    return found


def _alone(stream: _Stream, streams: Sequence[_Stream]) -> bool:
    """Whether no other call was there until its first token."""
    return not any(other.sent < stream.first and other.end > stream.sent for other in streams if other is not stream)


def _streams(records: Sequence[CallRecord]) -> Iterator[_Stream]:
    for record in records:
        match record:
            case CallRecord(
                sent_s=float(sent),
                first_token_s=float(first),
                finish_s=float(end),
                prompt_tokens=int(prompt),
                cached_tokens=int(cached),
                output_tokens=int(output),
                error=None,
            ):
                yield _Stream(sent, first, end, prompt, cached, output)


def _steps(stream: _Stream, streams: Sequence[_Stream]) -> Iterator[StepWork]:
    """The steps that decoded a call, each with all that it computed for others."""
    firsts = [other.first for other in streams]
    near = [other for other in streams if other.first <= stream.end and other.end >= stream.first]
    for step in range(1, stream.steps + 1):
        earlier, now = stream.time(step - 1), stream.time(step)
        batch = [other for other in near if other is stream or other.decodes(now)]
        prefills = [other.prefill for other in streams[bisect_right(firsts, earlier) : bisect_right(firsts, now)]]
        yield StepWork(
            prefill_tokens=sum(work.prefill_tokens for work in prefills),
            prefill_attention=sum(work.prefill_attention for work in prefills),
            decode_batch=len(batch),
            decode_context=sum(other.prompt + other.step_at(now) for other in batch),
        )
