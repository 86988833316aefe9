"""A pool of blocks with a prefix cache, in which retention can be tested without vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentserve.vllm_plugin.ownership import ContextBlock
from agentserve.vllm_plugin.reports import Outcome
from agentserve.vllm_plugin.retention import Retention
from agentserve.vllm_plugin.ticket import YOUNGEST, Ticket

BLOCK_TOKENS = 32


@dataclass
class Call:
    blocks: list[int]
    reused: int


class World:
    """Contexts are strings; every letter is a full block, findable by the text up to it."""

    def __init__(self, blocks: int = 12) -> None:
        self.now = 100.0
        self.refs = [0] * blocks
        self.hashes: list[bytes | None] = [None] * blocks
        self.listed: dict[int, None] = dict.fromkeys(range(blocks))
        self.retention = Retention(self, blocks)
        self.running: dict[str, Call] = {}

    def hash_of(self, block: int) -> bytes | None:
        return self.hashes[block]

    def is_free(self, block: int) -> bool:
        return self.refs[block] == 0

    def hold(self, block: int) -> None:
        del self.listed[block]

    def release(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            assert block not in self.listed, "a listed block was released"
            self.listed[block] = None

    @property
    def free(self) -> int:
        return sum(1 for refs in self.refs if refs == 0)

    def arrive(self, request: str, program: str, rank: float = YOUNGEST, ttl: float = 0.0) -> None:
        self.retention.enter(request, Ticket(program, rank, ttl), self.now)

    def admit(self, request: str, context: str, guarded: bool = False) -> bool:
        """Gives a request its blocks; false if there are not enough."""
        reused = self._find(context)
        shielded = self.retention.shielded_from(request, reused) if guarded else 0
        lacking = len(context) - len(reused)
        if lacking > self.free - sum(1 for block in reused if self.refs[block] == 0) - shielded:
            return False
        for block in reused:
            self._reference(block)
        fresh = self._take(lacking)
        for size, block in enumerate(fresh, len(reused) + 1):
            self.hashes[block] = context[:size].encode()
        self.running[request] = Call(reused + fresh, len(reused))
        if reused:
            self.retention.hit(request, len(reused) * BLOCK_TOKENS)
        return True

    def end(self, request: str, finished: bool = True) -> None:
        call = self.running.pop(request, Call([], 0))
        context = [ContextBlock(block, self.hashes[block] or b"", BLOCK_TOKENS) for block in call.blocks]
        if self.retention.follows(request):
            self.retention.leave(request, tuple(context), finished, self.now)
        for block in reversed(call.blocks):
            self.refs[block] -= 1
            if self.refs[block] == 0 and not self.retention.ownership.freed(block):
                self.listed[block] = None

    def call(self, program: str, context: str, rank: float = YOUNGEST, ttl: float = 0.0) -> Call:
        """One whole call of a program, without a wait."""
        self.arrive(f"{program}.{context}", program, rank, ttl)
        assert self.admit(f"{program}.{context}", context)
        call = self.running[f"{program}.{context}"]
        self.end(f"{program}.{context}")
        return call

    def order(self, program: str, ttl: float) -> None:
        self.retention.order(program, ttl, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.retention.expire(self.now)

    def squeeze(self, blocks: int) -> None:
        """A request of no program comes and goes, which needs this many new blocks at once."""
        taken = self._take(blocks)
        for block in taken:
            self.hashes[block] = f"squeezed into {block} at {self.now}".encode()
        self.running["squeeze"] = Call(taken, 0)
        self.end("squeeze")

    def cached(self, context: str) -> int:
        """How many leading blocks of the context would be found."""
        return len(self._find(context))

    def reports(self, outcome: Outcome | None = None) -> list[tuple[str, Outcome, int]]:
        reports = [(report.program, report.outcome, report.tokens) for report in self.retention.reports.since(0)]
        return [report for report in reports if outcome in (None, report[1])]

    def check(self) -> None:
        """Every block is in exactly one place, and the books agree with a recount."""
        ownership = self.retention.ownership
        owners = {block: [] for block in range(len(self.refs))}  # type: dict[int, list[str]]
        for pin in self.retention.pins.values():
            kept = [entry.block for entry in pin.kept if ownership.is_owner(pin, entry.block)]
            for block in kept:
                owners[block].append(pin.program)
                assert self.hashes[block] is not None, f"{pin.program} owns the empty block {block}"
            assert (pin.blocks, pin.tokens) == (len(kept), len(kept) * BLOCK_TOKENS), pin
            assert pin.blocks > 0, f"the pin of {pin.program} protects nothing"
        held = {block for block, names in owners.items() if names and self.refs[block] == 0}
        for block, refs in enumerate(self.refs):
            places = (refs > 0) + (block in self.listed) + (block in held)
            assert places == 1, f"block {block} is in {places} places: {refs} references, owners {owners[block]}"
        assert len(ownership) == sum(1 for names in owners.values() if names)
        assert (ownership.held_blocks, ownership.held_tokens) == (len(held), len(held) * BLOCK_TOKENS)
        assert sum(pin.guarded for pin in self.retention.pins.values()) == len(held)
        for pin in self.retention.pins.values():
            mine = [block for block in held if pin is self._oldest(owners[block])]
            assert pin.guarded == len(mine), f"{pin.program} guards {pin.guarded} blocks, not {mine}"

    def _oldest(self, programs: list[str]) -> object:
        return min((self.retention.pins[program] for program in programs), key=lambda pin: pin.seniority)

    def _find(self, context: str) -> list[int]:
        found: list[int] = []
        for size in range(1, len(context) + 1):
            text = context[:size].encode()
            if text not in self.hashes:
                break
            found.append(self.hashes.index(text))
        return found

    def _reference(self, block: int) -> None:
        if self.refs[block] == 0 and not self.retention.ownership.referenced(block):
            del self.listed[block]
        self.refs[block] += 1

    def _take(self, count: int) -> list[int]:
        self.retention.make_room(max(0, count - len(self.listed)))
        taken = list(self.listed)[:count]
        for block in taken:
            del self.listed[block]
            self.refs[block] = 1
            self.hashes[block] = None
        return taken
