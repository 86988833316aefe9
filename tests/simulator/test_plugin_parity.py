"""The engine model keeps KV as the vLLM plugin does: both are played the same calls and must say the same."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import inf

from hypothesis import given, settings

from agentserve.vllm_plugin.ownership import ContextBlock
from agentserve.vllm_plugin.retention import Retention as PluginRetention
from agentserve.vllm_plugin.ticket import Ticket
from scheduler.events import PinOutcome
from scheduler.types import Seconds, Tokens
from simulator.blocks import Block, BlockPool
from simulator.engine import Engine, EngineConfig
from simulator.request import Request
from simulator.retention import Report, Retention
from tests.simulator.test_properties import PROFILE, Operation, configs, operations, play


class PluginPool(BlockPool):
    """The model's pool, with the plugin's ownership in the place where vLLM asks it."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.plugin = PluginRetention(self, size)

    def _list(self, block: Block) -> None:
        if self.plugin.ownership.freed(block.id):
            self._owned[block] = None
        else:
            super()._list(block)

    def _unlist(self, block: Block) -> None:
        if self.plugin.ownership.referenced(block.id):
            del self._owned[block]
        else:
            super()._unlist(block)

    def faults(self) -> Iterator[str]:
        yield from ()  # the plugin has checks of its own

    def hash_of(self, block: int) -> bytes | None:
        content = self.blocks[block].content
        return None if content is None else str(content).encode()

    def is_free(self, block: int) -> bool:
        return not self.blocks[block].users

    def hold(self, block: int) -> None:
        super()._unlist(self.blocks[block])
        self._owned[self.blocks[block]] = None

    def release(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            del self._owned[self.blocks[block]]
            super()._list(self.blocks[block])


class PluginAdapter(Retention):
    """The plugin's retention behind the interface of the model's."""

    def __init__(self, pool: PluginPool, block_size: Tokens) -> None:
        super().__init__(pool, block_size)
        self.plugin = pool.plugin

    def reports_since(self, cursor: int) -> list[Report]:
        reports = self.plugin.reports.since(cursor)
        return [Report(report.program, PinOutcome(report.outcome.value), report.tokens) for report in reports]

    def arrived(self, request: Request, now: Seconds) -> None:
        if request.program:
            rank = inf if request.rank is None else request.rank
            self.plugin.enter(request.id, Ticket(request.program, rank, request.ttl), now)

    def admitted(self, request: Request, cached: Tokens) -> None:
        if cached:
            self.plugin.hit(request.id, cached)

    def ended(self, request: Request, context: Sequence[Block], now: Seconds, *, finished: bool) -> None:
        if request.program:
            blocks = (ContextBlock(block.id, str(block.content).encode(), self._block_size) for block in context)
            self.plugin.leave(request.id, tuple(blocks), finished, now)

    def ask(self, name: str, ttl: Seconds, now: Seconds) -> None:
        self.plugin.order(name, ttl, now)

    def expire(self, now: Seconds) -> None:
        self.plugin.expire(now)

    def shielded(self, request: Request, reused: Collection[Block]) -> int:
        return self.plugin.shielded_from(request.id, [block.id for block in reused])

    def make_room(self, count: int) -> None:
        self.plugin.make_room(max(0, count - self._pool.takeable))

    def faults(self) -> Iterator[str]:
        yield from ()


class PluginEngine(Engine):
    """The engine model with the plugin's retention in the place of its own."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config, PROFILE)
        pool = PluginPool(config.num_blocks)
        self._pool = pool
        self._retention = self.adapter = PluginAdapter(pool, config.block_size)


@settings(max_examples=600, deadline=None)
@given(configs, operations)
def test_the_model_keeps_kv_as_the_plugin_does(config: EngineConfig, script: list[Operation]) -> None:
    own = play(config, script).drive
    engine = PluginEngine(config)
    plugin = play(config, script, engine).drive
    assert plugin.outputs == own.outputs
    assert engine.retention.reports_since(0) == own.engine.retention.reports_since(0)
    assert engine.adapter.plugin.released == own.engine.retention.released
    assert engine.adapter.plugin.ownership.held_blocks == own.engine.retention.protected_blocks
