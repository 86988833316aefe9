"""vLLM's real scheduler, driven by hand with a worker that knows exactly what every KV slot must hold.

No model runs, so there is no numerical noise: the worker writes each token into its slot, checks that every slot a
request attends to holds that request's own token, and samples the next token as a hash of the whole context.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm.config import CacheConfig, DeviceConfig, ModelConfig, SchedulerConfig, VllmConfig
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.outputs import LogprobsTensors, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

from agentserve.vllm_plugin.scheduler import make_scheduler

BLOCK_SIZE = 16
STOP_TOKEN = 0
Extra = Mapping[str, str | float]
_VOCABULARY = 256


def call_of(program: str, rank: int | None = None, ttl: float = 0) -> Extra:
    """What the gateway puts into a request's `vllm_xargs`."""
    extra: dict[str, str | float] = {"agentserve_program": program, "agentserve_ttl": ttl}
    return extra if rank is None else {**extra, "agentserve_rank": rank}


def next_token(context: Sequence[int]) -> int:
    """The one right continuation of a context; now and then the stop token."""
    digest = hashlib.blake2b(bytes(token % _VOCABULARY for token in context), digest_size=2).digest()
    return STOP_TOKEN if digest[1] < 8 else 1 + digest[0] % (_VOCABULARY - 1)


def score(context: Sequence[int]) -> float:
    """What stands for the log-probability of a context's last token after all that come before it."""
    digest = hashlib.blake2b(bytes(token % _VOCABULARY for token in context), digest_size=2).digest()
    return -float(int.from_bytes(digest))


def completion(prompt: Sequence[int], max_tokens: int) -> list[int]:
    """What any right engine answers at temperature 0."""
    context = list(prompt)
    while len(context) < len(prompt) + max_tokens:
        context.append(next_token(context))
        if context[-1] == STOP_TOKEN:
            break
    return context[len(prompt) :]


@dataclass
class _Row:
    prompt: int
    tokens: list[int]
    blocks: list[int]
    scores: LogprobsTensors | None
    """Of the prompt's tokens after the first, as vLLM's own worker fills them in; NaN where nothing was computed."""


class Worker:
    """Executes steps, and fails on the first slot that does not hold what its request needs."""

    def __init__(self, blocks: int) -> None:
        self.slots: list[list[int | None]] = [[None] * BLOCK_SIZE for _ in range(blocks)]
        self.rows: dict[str, _Row] = {}

    def execute(self, step: SchedulerOutput) -> ModelRunnerOutput:
        starts: dict[str, int] = {}
        for request in step.scheduled_new_reqs:
            prompt = list(request.prompt_token_ids)
            scored = request.sampling_params.prompt_logprobs is not None
            scores = _unwritten(len(prompt) - 1) if scored else None
            self.rows[request.req_id] = _Row(len(prompt), prompt, list(request.block_ids[0]), scores)
            starts[request.req_id] = request.num_computed_tokens
        cached = step.scheduled_cached_reqs
        for index, name in enumerate(cached.req_ids):
            row, new = self.rows[name], cached.new_block_ids[index]
            if name in cached.resumed_req_ids:
                row.blocks = []
                del row.tokens[row.prompt + cached.num_output_tokens[index] :]
            row.blocks += new[0] if new is not None else []
            starts[name] = cached.num_computed_tokens[index]
        names = list(step.num_scheduled_tokens)
        for name in names:
            self._write(self.rows[name], starts[name], step.num_scheduled_tokens[name])
        sampled = [
            self._sample(name, self.rows[name], starts[name] + step.num_scheduled_tokens[name]) for name in names
        ]
        output = ModelRunnerOutput(names, {name: index for index, name in enumerate(names)}, sampled)
        for name in names:
            row, ends = self.rows[name], starts[name] + step.num_scheduled_tokens[name]
            if row.scores is not None:
                self._score(row, starts[name], ends)
                if ends >= row.prompt:
                    output.prompt_logprobs_dict[name], row.scores = row.scores, None
        return output

    def _score(self, row: _Row, start: int, end: int) -> None:
        assert row.scores is not None
        for position in range(start, min(end, row.prompt - 1)):
            row.scores.logprob_token_ids[position] = row.tokens[position + 1]
            row.scores.logprobs[position] = score(row.tokens[: position + 2])

    def _write(self, row: _Row, start: int, count: int) -> None:
        for position in range(start, start + count):
            self.slots[row.blocks[position // BLOCK_SIZE]][position % BLOCK_SIZE] = row.tokens[position]

    def _sample(self, name: str, row: _Row, computed: int) -> list[int]:
        for position in range(computed):
            found = self.slots[row.blocks[position // BLOCK_SIZE]][position % BLOCK_SIZE]
            assert found == row.tokens[position], f"{name} read {found} at {position}, not {row.tokens[position]}"
        if computed < len(row.tokens):
            return []
        row.tokens.append(next_token(row.tokens))
        return [row.tokens[-1]]


def _unwritten(rows: int) -> LogprobsTensors:
    return LogprobsTensors(torch.zeros(rows, 1), torch.full((rows, 1), torch.nan), torch.zeros(rows))


class HandEngine:
    """A scheduler and a worker. With asynchronous scheduling each step is planned before the last one is done."""

    def __init__(
        self,
        folder: Path,
        blocks: int = 17,
        asynchronous: bool = False,
        plugin: bool = True,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 64,
    ) -> None:
        config = _config(folder, asynchronous, max_num_seqs, max_num_batched_tokens)
        stock = AsyncScheduler if asynchronous else Scheduler
        spec = FullAttentionSpec(block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32)
        config.cache_config.num_gpu_blocks = blocks
        self.scheduler: Any = (make_scheduler if plugin else stock)(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
            structured_output_manager=StructuredOutputManager(config),
            log_stats=True,
            block_size=BLOCK_SIZE,
            hash_block_size=BLOCK_SIZE,
        )
        self.worker = Worker(blocks)
        self.outputs: dict[str, list[int]] = {}
        self.cached: dict[str, int] = {}
        self.scores: dict[str, list[float]] = {}
        """The log-probabilities that were given back, of the prompts of requests that asked for any."""
        self.preemptions = 0
        self._hasher = get_request_block_hasher(BLOCK_SIZE, sha256)
        self._ahead = 1 if asynchronous else 0
        self._flying: deque[tuple[SchedulerOutput, ModelRunnerOutput]] = deque()

    @property
    def free_blocks(self) -> int:
        free: int = self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        return free

    @property
    def running(self) -> list[str]:
        return [request.request_id for request in self.scheduler.running]

    def add(
        self,
        name: str,
        prompt: Sequence[int],
        max_tokens: int = 4,
        priority: int = 0,
        extra: Extra | None = None,
        scored: bool = False,
        seed: int | None = None,
    ) -> None:
        """Sends a request; `extra` is its `vllm_xargs`, and `scored` asks for the prompt's log-probabilities."""
        params = SamplingParams(
            temperature=0,
            max_tokens=max_tokens,
            stop_token_ids=[STOP_TOKEN],
            prompt_logprobs=0 if scored else None,
            seed=seed,
            extra_args=dict(extra) if extra is not None else None,
        )
        params.update_from_generation_config({}, None)
        self.outputs[name] = []
        self.scheduler.add_request(
            Request(name, list(prompt), params, None, priority=priority, block_hasher=self._hasher)
        )

    def abort(self, name: str) -> None:
        self.scheduler.finish_requests(name, RequestStatus.FINISHED_ABORTED)

    def step(self) -> None:
        """One turn of the engine's loop."""
        planned = self.scheduler.schedule()
        self.preemptions += len(planned.preempted_req_ids or ())
        self._flying.append((planned, self.worker.execute(planned)))
        while len(self._flying) > self._ahead:
            self._land()

    def run(self) -> None:
        """Steps until nothing is left to do."""
        for _ in range(10_000):
            if not self.scheduler.has_unfinished_requests():
                break
            self.step()
        else:
            raise AssertionError(f"the engine hangs: running {self.running}, waiting {len(self.scheduler.waiting)}")
        while self._flying:
            self._land()

    def complete(self, name: str, prompt: Sequence[int], max_tokens: int = 4, extra: Extra | None = None) -> list[int]:
        """One whole request, alone; returns the context it leaves, which the program's next prompt can extend."""
        self.add(name, prompt, max_tokens, extra=extra)
        self.run()
        return [*prompt, *self.outputs[name]]

    def _land(self) -> None:
        for client in self.scheduler.update_from_output(*self._flying.popleft()).values():
            for output in client.outputs:
                self.outputs[output.request_id] += output.new_token_ids
                if output.new_prompt_logprobs_tensors is not None:
                    self.scores[output.request_id] = output.new_prompt_logprobs_tensors.logprobs[:, 0].tolist()
                if output.prefill_stats is not None:
                    self.cached[output.request_id] = output.prefill_stats.num_cached_tokens


def _config(folder: Path, asynchronous: bool, max_num_seqs: int, max_num_batched_tokens: int) -> VllmConfig:
    llama = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 2048,
    }
    (folder / "config.json").write_text(json.dumps(llama))
    init_none_hash(sha256)
    config = VllmConfig(
        model_config=ModelConfig(model=str(folder), dtype="float32", skip_tokenizer_init=True, max_model_len=1024),
        scheduler_config=SchedulerConfig(
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            max_model_len=1024,
            enable_chunked_prefill=True,
            is_encoder_decoder=False,
            policy="priority",
        ),
        cache_config=CacheConfig(block_size=BLOCK_SIZE, enable_prefix_caching=True),
        device_config=DeviceConfig("cpu"),
    )
    config.scheduler_config.async_scheduling = asynchronous  # which the CPU's own configuration always denies
    return config
