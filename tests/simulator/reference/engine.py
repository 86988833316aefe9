"""vLLM's scheduler, step by step, as far as the engine model has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf

from agentserve.vllm_plugin.ownership import ContextBlock
from agentserve.vllm_plugin.ticket import Ticket
from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens
from simulator.engine import EngineConfig, StepResult
from simulator.profile import StepProfile, StepWork
from simulator.request import Output, Request
from simulator.retention import Report
from tests.simulator.reference.blocks import Block, BlockPool, block_hashes
from tests.simulator.reference.offload import OffloadTier, weight


@dataclass(eq=False, slots=True)
class Progress:
    request: Request
    hashes: tuple[int, ...]
    arrival: Seconds
    sequence: int
    computed: Tokens = 0
    produced: Tokens = 0
    cached: Tokens | None = None
    table: list[Block] = field(default_factory=list)

    @property
    def known(self) -> Tokens:
        return self.request.prompt_tokens + self.produced

    @property
    def urgency(self) -> tuple[int, Seconds, int]:
        return self.request.priority, self.arrival, self.sequence


class ReferenceEngine:
    def __init__(self, config: EngineConfig, profile: StepProfile) -> None:
        self.config = config
        self.profile = profile
        self.preemptions = 0
        self.pool = BlockPool(config.num_blocks)
        self.retention = self.pool.retention
        self.requests: dict[str, Progress] = {}
        self.queue: list[Progress] = []
        self.active: list[Progress] = []
        self.tier = OffloadTier(config.offload_tokens // config.block_size, config.block_size, config.footprint)
        self.batch: dict[Progress, Tokens] = {}
        self.loading: Seconds = 0.0
        self.ends: Seconds | None = None
        self.inbox: list[Callable[[Seconds], None]] = []
        self.coming: list[Progress] = []
        self.arrivals = 0

    @property
    def next_time(self) -> Seconds | None:
        return self.ends

    @property
    def running(self) -> int:
        return len(self.active)

    @property
    def waiting(self) -> int:
        return len(self.queue) + len(self.coming)

    @property
    def free_blocks(self) -> int:
        return self.pool.free

    def add(self, request: Request, now: Seconds) -> None:
        item = Progress(request, block_hashes(request.content, self.config.block_size), now, self.arrivals)
        self.arrivals += 1
        self.requests[request.id] = item
        self.coming.append(item)
        self._between_steps(partial(self._enter, item), now)

    def abort(self, request_id: str, now: Seconds) -> None:
        item = self.requests.get(request_id)
        if item in self.coming:
            self._between_steps(partial(self._drop, request_id), now)
        else:
            self._drop(request_id, now)

    def retain(self, program: str, ttl: Seconds, now: Seconds) -> None:
        self._between_steps(partial(self.retention.order, program, ttl), now)

    def _between_steps(self, do: Callable[[Seconds], None], now: Seconds) -> None:
        if self.ends is None:
            do(now)
        else:
            self.inbox.append(do)

    def _enter(self, item: Progress, now: Seconds) -> None:
        self.coming.remove(item)
        self.retention.expire(now)
        request = item.request
        if request.program:
            rank = inf if request.rank is None else request.rank
            self.retention.enter(request.id, Ticket(request.program, rank, request.ttl), now)
        self.queue.append(item)
        self._sort()

    def _drop(self, request_id: str, now: Seconds) -> None:
        item = self.requests.get(request_id)
        if item is None:
            return
        if item in self.queue:
            self.queue.remove(item)
        self.batch.pop(item, None)
        self._end(item, now, finished=False)

    def reports_since(self, cursor: int, now: Seconds) -> list[Report]:
        if self.ends is None:
            self.retention.expire(now)
        reports = self.retention.reports.since(cursor)
        return [Report(report.program, PinOutcome(report.outcome.value), report.tokens) for report in reports]

    def step(self, now: Seconds) -> StepResult:
        if self.ends is not None and now < self.ends:
            return StepResult((), self.ends)
        outputs = self._complete(now)
        inbox, self.inbox = self.inbox, []
        for do in inbox:
            do(now)
        self.retention.expire(now)
        self.loading = 0.0
        self.batch = self._schedule()
        self.ends = now + (self.profile.seconds(self._work()) + self.loading) if self.batch else None
        for item, tokens in self.batch.items():
            item.computed += tokens
        return StepResult(outputs, self.ends)

    def _sort(self) -> None:
        if self.config.priority:
            self.queue.sort(key=lambda item: item.urgency)

    def _complete(self, now: Seconds) -> tuple[Output, ...]:
        outputs: list[Output] = []
        for item in self.batch:
            if item.computed == item.known:
                item.produced += 1
                finished = item.produced == item.request.output_tokens
                outputs.append(Output(item.request.id, item.produced, item.cached or 0, finished))
                if finished:
                    self._end(item, now, finished=True)
        self.batch = {}
        return tuple(outputs)

    def _end(self, item: Progress, now: Seconds, *, finished: bool) -> None:
        size = self.config.block_size
        del self.requests[item.request.id]
        if item in self.active:
            self.active.remove(item)
        if item.request.program:
            full = item.table[: item.computed // size]
            context = (ContextBlock(block.id, self.pool.hash_of(block.id) or b"", size) for block in full)
            self.retention.leave(item.request.id, tuple(context), finished, now)
        self._leave(item)

    def _leave(self, item: Progress) -> None:
        self.tier.store(item.hashes[: item.computed // self.config.block_size])
        self.pool.leave(item.table)

    def _schedule(self) -> dict[Progress, Tokens]:
        while self.requests:
            batch: dict[Progress, Tokens] = {}
            if not self._schedule_running(batch):
                self._schedule_waiting(batch)
            if batch:
                return batch
        return {}

    def _capped(self, tokens: Tokens) -> Tokens:
        threshold = self.config.long_prefill_token_threshold
        return min(tokens, threshold) if threshold and len(self.requests) > 1 else tokens

    def _schedule_running(self, batch: dict[Progress, Tokens]) -> bool:
        budget = self.config.max_num_batched_tokens
        preempted = False
        for item in list(self.active):
            tokens = min(self._capped(item.known - item.computed), budget - sum(batch.values()))
            if tokens and item in self.active:
                while item in self.active and sum(self._missing(item, item.computed + tokens)) > self.pool.free:
                    self._preempt(batch)
                    preempted = True
                if item not in self.active:
                    break
                self._allocate(item, item.computed, item.computed + tokens)
                batch[item] = tokens
        return preempted

    def _preempt(self, batch: dict[Progress, Tokens]) -> None:
        by_priority = self.config.priority
        item = max(self.active, key=lambda item: item.urgency) if by_priority else self.active[-1]
        self.active.remove(item)
        batch.pop(item, None)
        self._leave(item)
        item.table, item.computed = [], 0
        self.queue.insert(0, item)
        self._sort()
        self.preemptions += 1

    def _schedule_waiting(self, batch: dict[Progress, Tokens]) -> None:
        budget = self.config.max_num_batched_tokens - sum(batch.values())
        while budget and self.queue and len(self.active) < self.config.max_num_seqs:
            item = self.queue[0]
            hashes = item.hashes[: (item.known - 1) // self.config.block_size]
            hits = self.pool.find(hashes)
            if not self._admissible(item, hits):
                break
            self.active.append(self.queue.pop(0))
            self.pool.use(hits)
            found = max(len(hits), self.tier.find(hashes))
            item.table, item.computed = hits, len(hits) * self.config.block_size
            if item.computed and item.request.program:
                self.retention.hit(item.request.id, item.computed)
            known, item.computed = item.computed, found * self.config.block_size
            self.loading += (item.computed - known) / self.config.load_tokens_per_s
            if item.cached is None:
                item.cached = item.computed
            tokens = min(self._capped(item.known - item.computed), budget)
            self._allocate(item, known, item.computed + tokens)
            batch[item] = tokens
            budget -= tokens

    def _admissible(self, item: Progress, hits: list[Block]) -> bool:
        missing = sum(self._missing(item, item.known)[len(hits) :])
        if self.active:
            missing += int(self.config.watermark * self.config.num_blocks)
        available = self.pool.free - sum(block.weight for block in hits if not block.users)
        if self.config.guard and self.active:
            available -= self.retention.shielded_from(item.request.id, [block.id for block in hits])
        return missing <= available

    def _missing(self, item: Progress, tokens: Tokens) -> list[int]:
        """The memory of each block that the request's first so many tokens need and that it does not have."""
        size = self.config.block_size
        return [weight(self.config.footprint, index, size) for index in range(len(item.table), -(-tokens // size))]

    def _allocate(self, item: Progress, start: Tokens, end: Tokens) -> None:
        item.table += self.pool.take(self._missing(item, end))
        for index in range(start // self.config.block_size, end // self.config.block_size):
            self.pool.fill(item.table[index], item.hashes[index])

    def _work(self) -> StepWork:
        decodes = [item for item, tokens in self.batch.items() if tokens == 1 and item.produced]
        prefills = [(item, tokens) for item, tokens in self.batch.items() if tokens > 1 or not item.produced]
        return StepWork(
            prefill_tokens=sum(tokens for _, tokens in prefills),
            prefill_attention=sum(tokens * (item.computed + (tokens + 1) / 2) for item, tokens in prefills),
            decode_batch=len(decodes),
            decode_context=sum(item.computed for item in decodes),
        )
