"""vLLM's schedulers with retention; start vLLM with `--scheduler-cls agentserve.vllm_plugin.scheduler.make_scheduler`."""

from __future__ import annotations

import os
from time import monotonic

from vllm.config import VllmConfig
from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.v1.core.kv_cache_manager import KVCacheBlocks
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.engine.core import EngineCore
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from agentserve.vllm_plugin import control, weights
from agentserve.vllm_plugin.compat import require_supported, vllm_version
from agentserve.vllm_plugin.context import context_of
from agentserve.vllm_plugin.environment import guard_enabled
from agentserve.vllm_plugin.free_queue import RetainingQueue
from agentserve.vllm_plugin.tail_scores import TailScores
from agentserve.vllm_plugin.ticket import BadValueError, Ticket, parse_tail, parse_ticket

_log = init_logger("vllm.agentserve")
_RUNNING = RequestStatus.RUNNING
_FINISHED = (
    RequestStatus.FINISHED_STOPPED,
    RequestStatus.FINISHED_LENGTH_CAPPED,
    RequestStatus.FINISHED_REPETITION,
)


class RetainingScheduler(Scheduler):
    """vLLM's scheduler, which also keeps the KV of programs between their calls, and scores tails of prompts."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.guard = guard_enabled(os.environ)
        self.ignored = 0
        """Requests whose ticket or tail could not be used; they ran as stock ones."""
        pool = self.kv_cache_manager.block_pool
        self.free_queue = pool.free_block_queue = RetainingQueue(pool)
        self.retention = self.free_queue.retention
        self.total_blocks = self.free_queue.num_free_blocks
        """Blocks that requests can have."""
        self._stock_allocate_slots = self.kv_cache_manager.allocate_slots
        self.tail_scores = TailScores(self.kv_cache_manager)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """Plans one step. Without pins it is vLLM's own step."""
        self.retention.expire(monotonic())
        if not self.retention.pins:
            return super().schedule(throttle_prefills)
        self.kv_cache_manager.allocate_slots = self._allocate_slots
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.kv_cache_manager.allocate_slots = self._stock_allocate_slots

    def add_request(self, request: Request) -> None:
        """Takes a request into the waiting line."""
        ticket = self._ticket(request)
        if ticket is not None:
            self.retention.enter(request.request_id, ticket, monotonic())
        tail = self._tail(request)
        if tail is not None:
            self.tail_scores.enter(request, tail)
        if current_platform.is_cpu():
            _drop_seed(request)
        super().add_request(request)

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Takes in what a step computed."""
        if self.tail_scores:
            self.tail_scores.cut(model_runner_output.prompt_logprobs_dict)
        return super().update_from_output(scheduler_output, model_runner_output)

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        """Empties the prefix cache, and with it all pins."""
        emptied = bool(super().reset_prefix_cache(reset_running_requests, reset_connector))
        if emptied:
            self.retention.clear()
        return emptied

    def _ticket(self, request: Request) -> Ticket | None:
        params = request.sampling_params
        if params is None or not params.extra_args:
            return None
        try:
            return parse_ticket(params.extra_args)
        except BadValueError:
            self.ignored += 1
            return None

    def _tail(self, request: Request) -> int | None:
        """How much of the prompt's end is to be scored. A connector's blocks cannot be limited: then all is computed."""
        params = request.sampling_params
        if params is None or params.prompt_logprobs is None or not params.extra_args or self.connector is not None:
            return None
        try:
            return parse_tail(params.extra_args)
        except BadValueError:
            self.ignored += 1
            return None

    def _free_request_blocks(self, request: Request) -> None:
        """Reached when a request finishes, is aborted or is preempted, before its blocks become free."""
        name = request.request_id
        if request.is_finished():
            self.tail_scores.leave(name)
        if request.is_finished() and self.retention.follows(name):
            finished = request.status in _FINISHED
            self.retention.leave(name, context_of(self.kv_cache_manager, name), finished, monotonic())
        super()._free_request_blocks(request)

    def _allocate_slots(
        self,
        request: Request,
        num_new_tokens: int,
        num_new_computed_tokens: int = 0,
        new_computed_blocks: KVCacheBlocks | None = None,
        *args: object,
        **kwargs: object,
    ) -> KVCacheBlocks | None:
        """Gives a request its blocks. One that runs may break any pin; one that waits is held back by older pins."""
        given = (request, num_new_tokens, num_new_computed_tokens, new_computed_blocks, *args)
        if request.status is _RUNNING:
            return self._stock_allocate_slots(*given, **kwargs)
        with self.free_queue.shielding(self._shielded_from(request, new_computed_blocks)):
            blocks = self._stock_allocate_slots(*given, **kwargs)
        if blocks is not None and num_new_computed_tokens:
            self.retention.hit(request.request_id, num_new_computed_tokens)
        return blocks

    def _shielded_from(self, request: Request, reused: KVCacheBlocks | None) -> int:
        if not self.guard or not self.running:
            return 0
        groups = reused.blocks if reused is not None else ()
        return self.retention.shielded_from(request.request_id, (block.block_id for group in groups for block in group))


class AsyncRetainingScheduler(RetainingScheduler, AsyncScheduler):
    """The same for asynchronous scheduling, where a step is planned while the one before it runs."""


def _drop_seed(request: Request) -> None:
    """Leaves the request without its seed: on a CPU, vLLM dies of one whose prompt takes several steps.

    After each of them but the last its model runner sets the seed's generator back, which one on a CPU cannot do.
    """
    params = request.sampling_params
    if params is not None and params.seed is not None:
        params.seed = None
        _log.warning_once("On a CPU a seed is not followed: vLLM ends when a prompt with a seed takes several steps.")


def make_scheduler(vllm_config: VllmConfig, **kwargs: object) -> RetainingScheduler:
    """Builds the engine's scheduler; vLLM calls it as it would call a scheduler class.

    Raises:
        UnsupportedVllmError: the plugin does not know this version of vLLM.
    """
    require_supported(vllm_version())
    EngineCore.agentserve_control = control.serve
    EngineCore.agentserve_weights = weights.load
    wants_async = vllm_config.scheduler_config.async_scheduling
    scheduler = AsyncRetainingScheduler if wants_async else RetainingScheduler
    return scheduler(vllm_config=vllm_config, **kwargs)
