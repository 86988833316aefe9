"""Random histories: whatever happens, no block is lost, and all are plain again in the end."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.vllm_plugin.world import World

PROGRAMS = st.sampled_from(["anna", "bert", "carl"])
CONTEXTS = st.text("ab", min_size=0, max_size=7)
TTLS = st.sampled_from([0.0, 1.0, 5.0])


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(blocks=10)
        self.waiting: dict[str, str] = {}
        self.count = 0

    @rule(program=PROGRAMS, context=CONTEXTS, rank=st.integers(0, 4), ttl=TTLS)
    def arrive(self, program: str, context: str, rank: int, ttl: float) -> None:
        self.count += 1
        request = f"{program}.{self.count}"
        self.world.arrive(request, program, rank, ttl)
        self.waiting[request] = context

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), guarded=st.booleans())
    def admit(self, data: st.DataObject, guarded: bool) -> None:
        request = data.draw(st.sampled_from(sorted(self.waiting)))
        if self.world.admit(request, self.waiting[request], guarded):
            del self.waiting[request]

    @precondition(lambda self: self.world.running)
    @rule(data=st.data(), finished=st.booleans())
    def end(self, data: st.DataObject, finished: bool) -> None:
        self.world.end(data.draw(st.sampled_from(sorted(self.world.running))), finished)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def abort_waiting(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(sorted(self.waiting)))
        del self.waiting[request]
        self.world.end(request, finished=False)

    @rule(program=PROGRAMS, ttl=TTLS)
    def order(self, program: str, ttl: float) -> None:
        self.world.order(program, ttl)

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(share=st.floats(0, 1))
    def squeeze(self, share: float) -> None:
        self.world.squeeze(int(share * self.world.free))

    @rule()
    def clear(self) -> None:
        if not self.world.running:
            self.world.hashes = [None] * len(self.world.hashes)
            self.world.retention.clear()

    @invariant()
    def books_agree(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        for request in [*self.waiting, *self.world.running]:
            self.world.end(request, finished=False)
        self.world.wait(10)
        self.world.check()
        assert len(self.world.listed) == self.world.free == 10
        assert not self.world.retention.pins


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=40)
