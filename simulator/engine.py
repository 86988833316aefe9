"""An engine in small: vLLM's V1 scheduler over paged KV with prefix caching, on a clock that its driver holds.

`step(now)` ends the step that was under way, begins the next one, and says when that one will end. The driver calls
it at that time, or at any time after a request was added to an idle engine; it may be virtual time or the wall clock.
Steps in which requests only decode, and of which no output tells, are taken as one: what arrives meanwhile ends them
with the step that is under way then, as if they had been single.

Modelled after vLLM 0.32 (`v1/core/sched/scheduler.py`, `v1/core/kv_cache_manager.py`, `v1/core/block_pool.py`):
running requests go first and may preempt (recompute) the last or lowest-priority one when memory runs out; waiting
ones follow in order, the head of line stops those behind it, and a prompt is admitted only if all of it fits; a
prefill is cut into chunks by the step's token budget and shares steps with decodes; what comes during a step is looked
at when it ends. Not modelled: speculative decoding, LoRA limits, data and pipeline parallelism, and asynchronous
scheduling, with which vLLM plans a step while the one before it runs (its default on GPUs, off on CPUs): there a call
waits for up to one step more than here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import inf
from operator import attrgetter
from typing import NamedTuple

from scheduler.types import Seconds, Tokens
from simulator.blocks import BlockPool, Match
from simulator.content import Context
from simulator.decoding import Decoding
from simulator.footprint import FULL_ATTENTION, Footprint
from simulator.offload import OffloadTier
from simulator.pace import Pace
from simulator.profile import StepProfile, StepWork
from simulator.request import Output, Progress, Request
from simulator.retention import Report, Retention
from simulator.runs import Table
from simulator.waiting import WaitingQueue

_turn: Callable[[Progress], int] = attrgetter("table.turn")


class IntegrityError(Exception):
    """The engine model has lost or doubled something. The message lists what."""


class RequestError(ValueError):
    """A request that the engine cannot take. The message says why."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The size of an engine and its rules, by vLLM's names.

    Raises:
        ValueError: a size is below one or a limit out of its range, a step has less room than there may be requests, or
            a request of the greatest length would not fit into the KV memory.
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
    long_prefill_token_threshold: Tokens = 0
    """While there is another request, a prefill gets no more than this in a step; 0 sets no such limit."""
    watermark: float = 0.0
    """The share of blocks that has to stay free when a request is admitted to others that run."""
    footprint: Footprint = FULL_ATTENTION
    """How many of the blocks a context takes."""
    offload_tokens: Tokens = 0
    """What the tier of CPU memory behind the KV memory holds, counted as `num_blocks` is; 0 is none."""
    load_tokens_per_s: float = inf
    """The speed at which contexts come back from there; it delays the step that they are admitted in."""

    def __post_init__(self) -> None:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}, but vLLM wants at least max_num_seqs, "
                f"{self.max_num_seqs}: each running request takes a token of a step"
            )
        sizes = (self.num_blocks, self.block_size, self.max_model_len, self.max_num_seqs, self.max_num_batched_tokens)
        if min(sizes) < 1:
            raise ValueError("an engine's sizes are at least 1")
        if self.long_prefill_token_threshold < 0 or not 0 <= self.watermark < 1:
            raise ValueError("long_prefill_token_threshold is at least 0, and watermark from 0 to below 1")
        if self.offload_tokens < 0 or not self.load_tokens_per_s > 0:
            raise ValueError("offload_tokens is at least 0, and load_tokens_per_s above it")
        longest = -(-self.max_model_len // self.block_size)
        held = self.footprint.reach(self.num_blocks, self.block_size, longest)
        if held < longest:
            raise ValueError(
                f"max_model_len is {self.max_model_len} tokens, but the KV memory holds {held * self.block_size}; "
                "shorten the one or enlarge the other"
            )

    @property
    def kv_tokens(self) -> Tokens:
        """The KV memory in tokens that take all of theirs."""
        return self.num_blocks * self.block_size


class StepResult(NamedTuple):
    """What the steps that have just ended produced, and when to call again (None: idle)."""

    outputs: tuple[Output, ...]
    next_time: Seconds | None


class Engine:
    """One engine. All times are the driver's, in seconds, and never go back."""

    def __init__(self, config: EngineConfig, profile: StepProfile) -> None:
        self.config = config
        self.profile = profile
        self.preemptions = 0
        self._pool = BlockPool(config.num_blocks, config.block_size, config.footprint)
        self._tier = OffloadTier(config.offload_tokens // config.block_size, config.block_size, config.footprint)
        self._retention = Retention(self._pool)
        self._requests: dict[str, Progress] = {}
        self._waiting = WaitingQueue(by_priority=config.priority)
        self._running: dict[Progress, None] = {}
        """In the order of admission."""
        self._decoding = Decoding(config.block_size, config.footprint)
        self._others: dict[Progress, None] = {}
        """Those that run and do not decode."""
        self._chunks: dict[Progress, Tokens] = {}
        """What the step under way computes for requests that do not decode."""
        self._loading: Seconds = 0.0
        """By how much loading from the offload tier delays the step under way."""
        self._inbox: list[Callable[[Seconds], None]] = []
        """What came while a step was under way; vLLM looks at it between steps."""
        self._coming: dict[Progress, None] = {}
        """The requests in it."""
        self._pace: Pace | None = None
        self._planned = 0
        """How many steps the run under way has."""
        self._begun = 0
        """How many of them have begun, as far as anybody has asked."""
        self._may_fit = False
        """The head of the waiting line could be admitted soon, although nothing but decoding happens."""
        self._stuck: tuple[Progress, int, int] | None = None
        """The head of the waiting line that did not fit, and what has to change before it can."""
        self._changes = 0
        """How often something happened by which more memory may be free, or more of a context be there."""
        self._arrivals = 0
        self._admissions = 0

    @property
    def running(self) -> int:
        """Requests that have been admitted and not preempted."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for admission, preempted ones among them."""
        return len(self._waiting) + len(self._coming)

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
        return None if self._pace is None else self._pace.end(self._planned)

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
        context = Context(request.content)
        self._validate(request, context)
        item = Progress(request, now, self._arrivals, Table(context=context))
        self._arrivals += 1
        self._requests[request.id] = item
        self._coming[item] = None
        self._between_steps(partial(self._take_in, item), now)

    def abort(self, request_id: str, now: Seconds) -> None:
        """Drops a request wherever it is; one that has ended already is no error."""
        item = self._requests.get(request_id)
        if item is None:
            return
        if item in self._coming:
            self._between_steps(partial(self._drop, item), now)
        else:
            self._interrupt(now)
            self._drop(item, now)

    def retain(self, program: str, ttl: Seconds, now: Seconds) -> None:
        """Keeps the program's KV for `ttl` seconds from now, or from the end of its live request; 0 releases it."""
        self._between_steps(partial(self._ask, program, ttl), now)

    def hush(self, request_id: str, tokens: Tokens) -> None:
        """Outputs before the request's last tell of more than so many tokens from now on.

        For a driver that knows what it would make nothing of; it can ask for `progress` at any time. No error if the
        request has ended.
        """
        item = self._requests.get(request_id)
        if item is not None and tokens > item.quiet:
            item.quiet = tokens
            if item in self._decoding.members:
                self._decoding.hush(item)

    def progress(self, now: Seconds) -> dict[str, Tokens]:
        """The output tokens by now of each request that runs."""
        self.advance(now)
        return {item.request.id: item.produced for item in self._running}

    def advance(self, now: Seconds) -> None:
        """Counts in what the steps that have begun by now take, so that `usage` and `free_blocks` are of now."""
        if self._pace is not None:
            self._begin(min(self._planned, self._pace.steps_until(now)) - self._begun)

    def reports_since(self, cursor: int, now: Seconds) -> list[Report]:
        """What became of pins after the first `cursor` reports, up to the step under way."""
        self.advance(now)
        if self._pace is None:
            self._retention.expire(now)
        return self._retention.reports_since(cursor)

    def step(self, now: Seconds) -> StepResult:
        """Ends the steps under way if their time has come, and then begins the next if there is work."""
        ends = self.next_time
        if ends is not None and now < ends:
            return StepResult((), ends)
        outputs = self._complete(now)
        inbox, self._inbox = self._inbox, []
        for do in inbox:
            do(now)
        self._retention.expire(now)
        if self._schedule():
            self._plan(now)
        return StepResult(outputs, self.next_time)

    def check_integrity(self) -> None:
        """Checks that no block and no request is lost or in two places.

        Raises:
            IntegrityError: one is; a bug of the model.
        """
        tables = [item.table for item in self._requests.values()]
        faults = [*self._pool.faults(tables), *self._retention.faults(), *self._faults()]
        if faults:
            raise IntegrityError("; ".join(faults))

    def _faults(self) -> Iterator[str]:
        if Counter([*self._running, *self._waiting, *self._coming]) != Counter(self._requests.values()):
            yield "the requests and those in the queues differ"
        if Counter([*self._decoding.members, *self._others]) != Counter(list(self._running)):
            yield "the requests that decode and the others are not those that run"
        if any(item.table.runs or item.table.computed for item in self._waiting):
            yield "a waiting request holds blocks"

    def _validate(self, request: Request, context: Context) -> None:
        length = request.prompt_tokens + request.output_tokens
        if request.id in self._requests:
            raise RequestError(f"request {request.id!r} is here already")
        if request.prompt_tokens < 1 or request.output_tokens < 1:
            raise RequestError(f"request {request.id!r} needs at least one prompt token and one output token")
        if length > self.config.max_model_len:
            raise RequestError(
                f"request {request.id!r} is {length} tokens long, but the model's limit is {self.config.max_model_len}"
            )
        if context.tokens != length:
            raise RequestError(f"request {request.id!r} is {length} tokens long, but its content has {context.tokens}")
        if context.shortest < 1:
            raise RequestError(f"request {request.id!r} has an extent of {context.shortest} tokens")

    # --- between steps ----------------------------------------------------------------------------------------------

    def _between_steps(self, do: Callable[[Seconds], None], now: Seconds) -> None:
        """Does it at the end of the step under way, with which the run ends, or at once if there is none."""
        if self._pace is None:
            do(now)
        else:
            self._interrupt(now)
            self._inbox.append(do)

    def _take_in(self, item: Progress, now: Seconds) -> None:
        del self._coming[item]
        self._retention.expire(now)
        self._retention.arrived(item.request, now)
        self._waiting.push(item)

    def _ask(self, program: str, ttl: Seconds, now: Seconds) -> None:
        self._changes += 1
        self._retention.expire(now)
        self._retention.ask(program, ttl, now)

    def _drop(self, item: Progress, now: Seconds) -> None:
        if item.request.id in self._requests:
            if item not in self._running:
                self._waiting.remove(item)
            self._end(item, now, finished=False)

    # --- steps under way --------------------------------------------------------------------------------------------

    def _plan(self, now: Seconds) -> None:
        """Says when the step that has just begun ends, and how many follow it before anything else can happen."""
        members = len(self._decoding)
        first = self.profile.seconds(_work(members, self._decoding.context, self._chunks)) + self._loading
        self._loading = 0.0
        self._pace = Pace(now, first, self.profile.decode_context * members)
        self._planned = self._begun = 1
        if not self._chunks and not self._may_fit:
            steps = self._decoding.run(self._pace, self._retention.next_expiry)
            if self._decoding.needs_more(self._pool.takeable, steps - 1):
                quiet = self._pool.takeable + self._retention.quiet_blocks
                steps = self._decoding.steps_within(quiet, steps)
            self._planned = steps

    def _begin(self, steps: int) -> None:
        """So many more steps of the run have begun."""
        if steps:
            self._retention.take(self._decoding.blocks(steps))
            self._decoding.steps.begun += steps
            self._decoding.steps.ended += steps
            self._begun += steps

    def _interrupt(self, now: Seconds) -> None:
        """The run ends with the step that is under way."""
        self.advance(now)
        self._planned = self._begun

    def _complete(self, now: Seconds) -> tuple[Output, ...]:
        """The outputs of the steps that end: each gives a token to every request whose whole context it computed."""
        if self._pace is None:
            return ()
        self._begin(self._planned - self._begun)
        self._pace = None
        decoding = self._decoding
        decoding.steps.ended = decoding.steps.begun
        due = decoding.due()
        for item in self._chunks:
            if not item.remaining:
                item.sampled += 1
                if item.produced in (1, item.request.output_tokens) or item.produced > item.quiet:
                    due.append(item)
        self._chunks = {}
        if not due:
            return ()
        due.sort(key=_turn)
        outputs = tuple(
            Output(item.request.id, item.produced, item.cached or 0, item.produced == item.request.output_tokens)
            for item in due
        )
        for item, output in zip(due, outputs, strict=True):
            if output.finished:
                self._end(item, now, finished=True)
        return outputs

    def _end(self, item: Progress, now: Seconds, *, finished: bool) -> None:
        del self._requests[item.request.id]
        self._stop(item)
        self._retention.ended(item.request, item.table, now, finished=finished)
        self._give_back(item.table, item.table.computed)

    def _stop(self, item: Progress) -> None:
        """The request does not run any more."""
        self._changes += 1
        if item in self._decoding.members:
            self._stop_decoding(item)
        self._others.pop(item, None)
        self._running.pop(item, None)
        self._chunks.pop(item, None)

    def _give_back(self, table: Table, computed: Tokens) -> None:
        """The request does not use its blocks any more; the offload tier has a copy of those full of computed tokens."""
        if self.config.offload_tokens:
            self._tier.store(table.context, computed // self.config.block_size)
        self._pool.leave(table)

    def _start_decoding(self, item: Progress) -> None:
        self._changes += 1
        del self._others[item]
        self._decoding.join(item)
        self._pool.start_growing(item.table)

    def _stop_decoding(self, item: Progress) -> None:
        self._pool.stop_growing(item.table)
        self._decoding.leave(item)
        self._others[item] = None

    # --- the next step ----------------------------------------------------------------------------------------------

    def _schedule(self) -> bool:
        """Begins the next step. Returns whether there is one: there is while there are requests.

        A pass in which the only request that got as far preempted itself schedules nothing; the next one goes on
        without it.
        """
        while self._requests:
            self._may_fit = False
            for item in [item for item in self._others if item.produced and item.remaining == 1]:
                self._start_decoding(item)
            if self._schedule_together() or not self._schedule_in_order():
                self._schedule_waiting()
            if self._chunks or self._decoding.members:
                return True
        return False

    def _schedule_together(self) -> bool:
        """Gives every running request its tokens, those that decode at once.

        Returns false if it must be done one by one, because memory or the step's budget do not suffice for all.
        """
        budget = self._budget
        if budget < 0:
            return False
        chunks: dict[Progress, Tokens] = {}
        for item in self._others:
            tokens = min(self._capped(item.remaining), budget)
            if tokens:
                chunks[item] = tokens
                budget -= tokens
        if self.config.long_prefill_token_threshold and not budget:
            return False
        if not self._take_together(chunks):
            return False
        self._decoding.steps.begun += 1
        for item, tokens in chunks.items():
            self._compute(item, tokens)
        return True

    def _take_together(self, chunks: dict[Progress, Tokens]) -> bool:
        """Takes the blocks of a step, if there are enough: one request after the other where pins lose theirs, because
        each loss is reported as it happens.
        """
        needs = [(item.table.turn, self._missing(item, tokens)) for item, tokens in chunks.items()]
        blocks = self._decoding.blocks(1) + sum(need for _, need in needs)
        if blocks > self._pool.free:
            return False
        if blocks <= self._pool.takeable or blocks <= self._pool.takeable + self._retention.quiet_blocks:
            self._retention.take(blocks)
        elif not chunks:
            for _ in range(blocks):
                self._retention.take(1)
        else:
            needs += [(item.table.turn, self._missing(item, 1)) for item in self._decoding.members]
            for _, need in sorted(needs):
                self._retention.take(need)
        return True

    def _schedule_in_order(self) -> bool:
        """Gives running requests their tokens in order of admission. Returns whether one had to be preempted."""
        for item in list(self._decoding.members):
            self._stop_decoding(item)
        preempted = False
        for item in list(self._running):
            tokens = min(self._capped(item.remaining), self._budget)
            if tokens and item in self._running:
                preempted |= self._preempt_until_fits(item, tokens)
                if item not in self._running:
                    break
                self._retention.take(self._missing(item, tokens))
                self._compute(item, tokens)
        return preempted

    @property
    def _budget(self) -> Tokens:
        """What the step can compute yet."""
        return self.config.max_num_batched_tokens - len(self._decoding) - sum(self._chunks.values())

    def _capped(self, tokens: Tokens) -> Tokens:
        """What a request gets at most of so many tokens."""
        threshold = self.config.long_prefill_token_threshold
        return min(tokens, threshold) if threshold and len(self._requests) > 1 else tokens

    def _preempt_until_fits(self, item: Progress, tokens: Tokens) -> bool:
        """Preempts requests, in the end `item` itself, until its tokens fit. Returns whether there was a need."""
        preempted = False
        while item in self._running and self._missing(item, tokens) > self._pool.free:
            self._preempt(self._victim())
            preempted = True
        return preempted

    def _victim(self) -> Progress:
        if self.config.priority:
            return max(self._running, key=lambda item: item.urgency)
        return next(reversed(self._running))

    def _preempt(self, item: Progress) -> None:
        computed = item.table.computed - self._chunks.get(item, 0)
        self._stop(item)
        self._give_back(item.table, computed)
        item.table.base = 0
        self._waiting.push_back(item)
        self.preemptions += 1

    def _schedule_waiting(self) -> None:
        """Admits waiting requests in order, until one does not fit or the step is full."""
        if not self._waiting:
            return
        budget = self._budget
        while budget > 0 and self._waiting and len(self._running) < self.config.max_num_seqs:
            item = self._waiting.head
            state = (item, self._changes, self._retention.changes)
            if state == self._stuck:
                break
            limit = (item.known - 1) // self.config.block_size
            match = self._pool.find(item.table.context, limit)
            if not self._admissible(item, match):
                self._may_fit = match.growing
                self._stuck = None if match.growing else state
                break
            loaded = self._loadable(item, match, limit)
            self._admit(self._waiting.pop(), match, loaded)
            tokens = min(self._capped(item.remaining - loaded), budget)
            self._retention.take(self._missing(item, loaded + tokens))
            self._compute(item, tokens, loaded)
            budget -= tokens

    def _admissible(self, item: Progress, match: Match) -> bool:
        """Whether its whole context fits into free memory, without breaking pins that the guard keeps from it."""
        config = self.config
        missing = self._pool.memory(-(-item.known // config.block_size), match.blocks)
        if self._running:
            missing += int(config.watermark * config.num_blocks)
        available = self._pool.free - sum(
            self._pool.memory_of(run, blocks) for run, blocks in match.parts() if not run.tables
        )
        if missing > available - self._pool.held and config.guard and self._running:
            available -= self._retention.shielded(item.request, match)
        return missing <= available

    def _loadable(self, item: Progress, match: Match, limit: int) -> Tokens:
        """How many tokens the offload tier has behind what was found."""
        if not self.config.offload_tokens:
            return 0
        return max(0, self._tier.find(item.table.context, limit) - match.blocks) * self.config.block_size

    def _admit(self, item: Progress, match: Match, loaded: Tokens) -> None:
        self._running[item] = self._others[item] = None
        item.table.turn = self._admissions
        self._admissions += 1
        self._pool.adopt(item.table, match)
        item.table.base = match.blocks * self.config.block_size
        self._retention.admitted(item.request, item.table.base)
        self._loading += loaded / self.config.load_tokens_per_s
        if item.cached is None:
            item.cached = item.table.base + loaded

    def _compute(self, item: Progress, tokens: Tokens, loaded: Tokens = 0) -> None:
        """Computes the request's next tokens, after those that are loaded for it, into blocks that it has been given.

        Those they fill can serve others from now on, as in vLLM.
        """
        self._changes += 1
        self._chunks[item] = tokens
        item.table.base += loaded + tokens
        self._pool.extend(item.table, item.table.base // self.config.block_size)

    def _missing(self, item: Progress, tokens: Tokens) -> int:
        """How many more blocks the request's next so many tokens need."""
        computed, size = item.table.computed, self.config.block_size
        return self._pool.memory(-(-(computed + tokens) // size), -(-computed // size))


def _work(batch: int, context: Tokens, chunks: dict[Progress, Tokens]) -> StepWork:
    """What a step computes: one more token of a whole context is a decode, everything else is prefill."""
    prefill, attention = 0, 0.0
    for item, tokens in chunks.items():
        if tokens == 1 and item.sampled:
            batch += 1
            context += item.table.base - 1
        else:
            prefill += tokens
            attention += tokens * (item.table.base - (tokens - 1) / 2)
    return StepWork(prefill, attention, batch, context)
