"""An engine in small: vLLM's V1 scheduler over paged KV with prefix caching, on a clock that its driver holds.

`step(now)` ends the step that was under way, begins the next one, and says when that one will end. The driver calls
it at that time, or at any time after a request was added to an idle engine; it may be virtual time or the wall clock.

Modelled after vLLM 0.32 (`v1/core/sched/scheduler.py`, `v1/core/kv_cache_manager.py`, `v1/core/block_pool.py`):
running requests go first and may preempt (recompute) the last or lowest-priority one when memory runs out; waiting
ones follow in order, the head of line stops those behind it, and a prompt is admitted only if all of it fits; a
prefill is cut into chunks by the step's token budget and shares steps with decodes. Not modelled: speculative
decoding, LoRA limits, sliding windows, data and pipeline parallelism.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scheduler.types import Seconds, Tokens
from simulator.blocks import Block, BlockPool
from simulator.content import block_hashes
from simulator.profile import StepProfile, StepWork
from simulator.request import Output, Progress, Request
from simulator.retention import Report, Retention
from simulator.waiting import WaitingQueue


class IntegrityError(Exception):
    """The engine model has lost or doubled something. The message lists what."""


class RequestError(ValueError):
    """A request that the engine cannot take. The message says why."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The size of an engine and its rules; vLLM's names and its defaults for an API server on a CPU.

    Raises:
        ValueError: a size is below one, or a request of the greatest length would not fit into the KV memory.
    """

    num_blocks: int = 256
    """Blocks of KV memory that requests can use."""
    block_size: Tokens = 32
    max_model_len: Tokens = 4096
    max_num_seqs: int = 128
    max_num_batched_tokens: Tokens = 2048
    priority: bool = True
    """Waiting requests are ordered by priority, and the lowest is preempted; otherwise first come first served."""
    guard: bool = True
    """While something runs, a waiting request may not break the pins of programs older than its own."""

    def __post_init__(self) -> None:
        sizes = (self.num_blocks, self.block_size, self.max_model_len, self.max_num_seqs, self.max_num_batched_tokens)
        if min(sizes) < 1:
            raise ValueError("an engine's sizes are at least 1")
        if self.max_model_len > self.kv_tokens:
            raise ValueError(
                f"max_model_len is {self.max_model_len} tokens, but the KV memory holds {self.kv_tokens}; "
                "shorten the one or enlarge the other"
            )

    @property
    def kv_tokens(self) -> Tokens:
        """The KV memory in tokens."""
        return self.num_blocks * self.block_size


class StepResult(NamedTuple):
    """The tokens that the step that has just ended produced, and when the one under way ends (None: idle)."""

    outputs: tuple[Output, ...]
    next_time: Seconds | None


class Engine:
    """One engine. All times are the driver's, in seconds, and never go back."""

    def __init__(self, config: EngineConfig, profile: StepProfile) -> None:
        self.config = config
        self.profile = profile
        self.preemptions = 0
        self._pool = BlockPool(config.num_blocks)
        self._retention = Retention(self._pool, config.block_size)
        self._requests: dict[str, Progress] = {}
        self._waiting = WaitingQueue(by_priority=config.priority)
        self._running: list[Progress] = []
        self._batch: dict[Progress, Tokens] = {}
        self._ends: Seconds | None = None
        self._arrivals = 0

    @property
    def running(self) -> int:
        """Requests that have been admitted and not preempted."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for admission, preempted ones among them."""
        return len(self._waiting)

    @property
    def free_blocks(self) -> int:
        """Blocks that no request uses; pins do not count."""
        return self._pool.free

    @property
    def usage(self) -> float:
        """The share of blocks that requests use; pins do not count."""
        return 1 - self._pool.free / self.config.num_blocks

    @property
    def next_time(self) -> Seconds | None:
        """When to call `step` next; None if idle. `add`, `abort` and `retain` may bring it forward: read it after."""
        return self._ends

    @property
    def retention(self) -> Retention:
        """The pins and their reports."""
        return self._retention

    def add(self, request: Request, now: Seconds) -> None:
        """Takes a request in.

        Raises:
            RequestError: its id is in use, it is empty or longer than `max_model_len`, or its content does not
                have its length.
        """
        self._validate(request)
        self._retention.expire(now)
        self._retention.arrived(request, now)
        hashes = block_hashes(request.content, self.config.block_size)
        item = Progress(request, hashes, now, self._arrivals)
        self._arrivals += 1
        self._requests[request.id] = item
        self._waiting.push(item)

    def abort(self, request_id: str, now: Seconds) -> None:
        """Drops a request wherever it is; one that has ended already is no error."""
        item = self._requests.pop(request_id, None)
        if item is None:
            return
        if item in self._running:
            self._running.remove(item)
        else:
            self._waiting.remove(item)
        self._batch.pop(item, None)
        self._leave(item, now, finished=False)

    def retain(self, program: str, ttl: Seconds, now: Seconds) -> None:
        """Keeps the program's KV for `ttl` seconds from now, or from the end of its live request; 0 releases it."""
        self._retention.expire(now)
        self._retention.ask(program, ttl, now)

    def reports_since(self, cursor: int, now: Seconds) -> list[Report]:
        """What became of pins after the first `cursor` reports, up to now."""
        self._retention.expire(now)
        return self._retention.reports_since(cursor)

    def step(self, now: Seconds) -> StepResult:
        """Ends the step under way if its time has come, and then begins the next one if there is work."""
        if self._ends is not None and now < self._ends:
            return StepResult((), self._ends)
        outputs = self._complete(now)
        self._retention.expire(now)
        self._batch = self._schedule()
        self._ends = now + self.profile.seconds(_work(self._batch)) if self._batch else None
        for item, tokens in self._batch.items():
            item.computed += tokens
        return StepResult(outputs, self._ends)

    def check_integrity(self) -> None:
        """Checks that no block and no request is lost or in two places.

        Raises:
            IntegrityError: one is; a bug of the model.
        """
        faults = [*self._pool.faults(), *self._retention.faults(), *self._faults()]
        if faults:
            raise IntegrityError("; ".join(faults))

    def _faults(self) -> Iterator[str]:
        users = Counter(block for item in self._requests.values() for block in item.table)
        for block in self._pool.blocks:
            if block.users != users[block]:
                yield f"block {block.id} has {users[block]} users, but counts {block.users}"
        if Counter([*self._running, *self._waiting]) != Counter(self._requests.values()):
            yield "the requests and those in the queues differ"
        if any(item.table or item.computed for item in self._waiting):
            yield "a waiting request holds blocks"

    def _validate(self, request: Request) -> None:
        length = request.prompt_tokens + request.output_tokens
        if request.id in self._requests:
            raise RequestError(f"request {request.id!r} is here already")
        if request.prompt_tokens < 1 or request.output_tokens < 1:
            raise RequestError(f"request {request.id!r} needs at least one prompt token and one output token")
        if length > self.config.max_model_len:
            raise RequestError(
                f"request {request.id!r} is {length} tokens long, but the model's limit is {self.config.max_model_len}"
            )
        content = sum(extent.length for extent in request.content)
        if content != length:
            raise RequestError(f"request {request.id!r} is {length} tokens long, but its content has {content}")

    def _complete(self, now: Seconds) -> tuple[Output, ...]:
        """The outputs of the step that ends: one token of each request whose whole context is computed."""
        outputs: list[Output] = []
        for item in self._batch:
            if item.computed == item.known:
                item.produced += 1
                finished = item.produced == item.request.output_tokens
                outputs.append(Output(item.request.id, item.produced, item.cached or 0, finished))
                if finished:
                    self._finish(item, now)
        self._batch = {}
        return tuple(outputs)

    def _finish(self, item: Progress, now: Seconds) -> None:
        del self._requests[item.request.id]
        self._running.remove(item)
        self._leave(item, now, finished=True)

    def _leave(self, item: Progress, now: Seconds, *, finished: bool) -> None:
        full = item.table[: item.computed // self.config.block_size]
        self._retention.ended(item.request, full, now, finished=finished)
        self._pool.leave(item.table)

    def _schedule(self) -> dict[Progress, Tokens]:
        """The next step's batch; empty only if there are no requests.

        A pass in which the only request that got as far preempted itself schedules nothing; the next one goes on
        without it.
        """
        while self._requests:
            batch: dict[Progress, Tokens] = {}
            if not self._schedule_running(batch):
                self._schedule_waiting(batch)
            if batch:
                return batch
        return {}

    def _schedule_running(self, batch: dict[Progress, Tokens]) -> bool:
        """Gives every running request its tokens, in order of admission. Returns whether one had to be preempted."""
        budget = self.config.max_num_batched_tokens
        preempted = False
        for item in list(self._running):
            tokens = min(item.known - item.computed, budget - sum(batch.values()))
            if tokens and item in self._running:
                preempted |= self._preempt_until_fits(item, tokens, batch)
                if item not in self._running:
                    break
                self._allocate(item, tokens)
                batch[item] = tokens
        return preempted

    def _preempt_until_fits(self, item: Progress, tokens: Tokens, batch: dict[Progress, Tokens]) -> bool:
        """Preempts requests, in the end `item` itself, until its tokens fit. Returns whether there was a need."""
        preempted = False
        while item in self._running and self._missing(item, item.computed + tokens) > self._pool.free:
            self._preempt(self._victim(), batch)
            preempted = True
        return preempted

    def _victim(self) -> Progress:
        return max(self._running, key=lambda item: item.urgency) if self.config.priority else self._running[-1]

    def _preempt(self, item: Progress, batch: dict[Progress, Tokens]) -> None:
        self._running.remove(item)
        batch.pop(item, None)
        self._pool.leave(item.table)
        item.table, item.computed = [], 0
        self._waiting.push_back(item)
        self.preemptions += 1

    def _schedule_waiting(self, batch: dict[Progress, Tokens]) -> None:
        """Admits waiting requests in order, until one does not fit or the step is full."""
        budget = self.config.max_num_batched_tokens - sum(batch.values())
        while budget and self._waiting and len(self._running) < self.config.max_num_seqs:
            item = self._waiting.head
            hits = self._hits(item)
            if not self._admissible(item, hits):
                break
            self._running.append(self._waiting.pop())
            self._adopt(item, hits)
            tokens = min(item.known - item.computed, budget)
            self._allocate(item, tokens)
            batch[item] = tokens
            budget -= tokens

    def _hits(self, item: Progress) -> list[Block]:
        """The cached blocks of its context; the last token is always computed, for it gives the next one."""
        return self._pool.find(item.hashes[: (item.known - 1) // self.config.block_size])

    def _admissible(self, item: Progress, hits: list[Block]) -> bool:
        """Whether its whole context fits into free memory, without breaking pins that the guard keeps from it."""
        missing = self._missing(item, item.known) - len(hits)
        available = self._pool.free - sum(not block.users for block in hits)
        if self.config.guard and self._running:
            available -= self._retention.shielded(item.request, hits)
        return missing <= available

    def _adopt(self, item: Progress, hits: list[Block]) -> None:
        self._pool.use(hits)
        item.table = hits
        item.computed = len(hits) * self.config.block_size
        self._retention.admitted(item.request, item.computed)
        if item.cached is None:
            item.cached = item.computed

    def _missing(self, item: Progress, tokens: Tokens) -> int:
        """How many more blocks the request's first `tokens` tokens need."""
        return -(-tokens // self.config.block_size) - len(item.table)

    def _allocate(self, item: Progress, tokens: Tokens) -> None:
        """Gives the request blocks for its next tokens. Blocks they fill can serve others from now on, as in vLLM."""
        end = item.computed + tokens
        missing = max(0, self._missing(item, end))
        self._retention.make_room(missing)
        item.table += self._pool.take(missing)
        for index in range(item.computed // self.config.block_size, end // self.config.block_size):
            self._pool.fill(item.table[index], item.hashes[index])


def _work(batch: dict[Progress, Tokens]) -> StepWork:
    """What a batch computes: one more token of a whole context is a decode, everything else is prefill."""
    decodes = [item for item, tokens in batch.items() if tokens == 1 and item.produced]
    prefills = [(item, tokens) for item, tokens in batch.items() if tokens > 1 or not item.produced]
    return StepWork(
        prefill_tokens=sum(tokens for _, tokens in prefills),
        prefill_attention=sum(tokens * (item.computed + (tokens + 1) / 2) for item, tokens in prefills),
        decode_batch=len(decodes),
        decode_context=sum(item.computed for item in decodes),
    )
