"""Past-Future admission (arXiv 2507.10150, LightLLM): a request enters if the batch will never outgrow the memory.

Request i holds a_i tokens now and will generate b_i more. With the requests sorted by b, longest first, the memory that
the batch will need at its fullest is

    M* = max over i of  b_i * i + sum over j <= i of a_j

and the request at the head of the line enters if M* with it, and what is frozen, are less than the memory. How much a
request will generate is drawn from the lengths of those that finished lately, among those longer than it is already.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from scheduler.account import Footprint, footprint
from scheduler.admission.base import Verdict
from scheduler.admission.unlimited import Unlimited
from scheduler.listener import Listener
from scheduler.state import Call, EngineState, Program
from scheduler.types import Seconds, Tokens, Usage
from scheduler.view import View
from tools.window import SampleWindow

_BITS = 1 << 53


@dataclass(frozen=True, slots=True)
class PastFuture(Unlimited, Listener):
    """Tests every call, those of members too. What is pinned in gaps is frozen; a prefix that is shared counts once.

    The original draws anew every few decode steps; here a test is made, with draws of its own, whenever a call has
    come or gone. The head of the line always enters an engine that runs nothing.

    Attributes:
        window: how many finished calls of a workflow the lengths are drawn from.
        seed: of the draws.
        resting: contexts of members in gaps are frozen although they are not pinned.
    """

    window: int = 1000
    seed: int = 0
    resting: bool = False
    _outputs: dict[tuple[str, str], SampleWindow] = field(init=False, default_factory=dict, repr=False, compare=False)

    def holds(self, view: View, call: Call) -> bool:
        return True

    def verdict(self, view: View, call: Call, engine: EngineState) -> Verdict:
        if not engine.running:
            return Verdict.ADMIT
        if len(engine.running) >= engine.spec.max_num_seqs:
            return Verdict.STOP
        prefixes = _Prefixes()
        frozen = sum(
            prefixes.added(footprint(program.marks, program.tokens_per_byte, program.context), program.context)
            for program in engine.members.values()
            if program is not call.program and self._is_frozen(program, view.now)
        )
        calls = [(self._left(view, other), other) for other in (*engine.running.values(), call)]
        calls.sort(key=itemgetter(0), reverse=True)
        needed = peak((prefixes.added(other.held, other.prompt + other.output), left) for left, other in calls)
        fits = needed + frozen < engine.account.capacity - engine.foreign
        return Verdict.ADMIT if fits else Verdict.STOP

    def call_finished(self, view: View, call: Call, usage: Usage, engine: EngineState) -> None:
        workflow = call.program.key.tenant, call.program.workflow
        self._outputs.setdefault(workflow, SampleWindow(self.window)).add(float(usage.output))

    def _is_frozen(self, program: Program, now: Seconds) -> bool:
        return program.gap_since is not None and (self.resting or program.pin_until > now)

    def _left(self, view: View, call: Call) -> Tokens:
        """A draw of the tokens the call will still generate; what is expected of it if no call was ever longer."""
        window = self._outputs.get((call.program.key.tenant, call.program.workflow))
        lengths = window.ordered if window is not None else []
        shorter = bisect_right(lengths, call.output)
        if shorter == len(lengths):
            return max(call.expected_output - call.output, 1)
        # Hashes of numbers, unlike those of strings, are the same in every process.
        draw = hash((self.seed, view.now, call.sequence)) % _BITS / _BITS
        return int(lengths[shorter + int(draw * (len(lengths) - shorter))]) - call.output


class _Prefixes:
    """Counts what several contexts share in the first of them only."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def added(self, held: Footprint, tokens: Tokens) -> Tokens:
        """What is left of a context's `tokens` without the segments that are counted already."""
        for name, size in held.segments:
            if name in self._seen:
                tokens -= size
            else:
                self._seen.add(name)
        return tokens


def peak(requests: Iterable[tuple[Tokens, Tokens]]) -> Tokens:
    """The most tokens that requests will hold at once, of each what it holds and what is still to come, which falls."""
    most = held = 0
    for number, (now, left) in enumerate(requests, 1):
        held += now
        most = max(most, left * number + held)
    return most
