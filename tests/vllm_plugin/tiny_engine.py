"""A whole vLLM in one process, on a tiny model, that works off a plan of requests: PLAN MODEL RESULT stock|plugin.

It runs as a program of its own, because vLLM takes over the process it runs in.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TypedDict

VOCABULARY = 512


class Planned(TypedDict):
    """A request, how many steps the engine makes after it, and the step after which it is aborted, if it is."""

    prompt: list[int]
    max_tokens: int
    priority: int
    extra: dict[str, str | float]
    steps: int
    abort_at: int | None


class Result(TypedDict):
    """The tokens of every request, each with the two best candidates and their log-probabilities; and the end state."""

    tokens: list[list[int]]
    candidates: list[list[dict[str, float]]]
    cached_tokens: int
    preemptions: int
    free_blocks: int
    total_blocks: int
    counters: dict[str, int]


def write_model(folder: Path) -> Path:
    """A Llama with random weights large enough that every token of the context matters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def run(plan: list[Planned], model: Path, plugin: bool) -> Result:
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=str(model),
        skip_tokenizer_init=True,
        dtype="float32",
        block_size=32,
        num_gpu_blocks_override=33,
        max_model_len=512,
        max_num_seqs=12,
        max_num_batched_tokens=128,
        enforce_eager=True,
        scheduling_policy="priority",
        distributed_executor_backend="uni",
        scheduler_cls="agentserve.vllm_plugin.scheduler.make_scheduler" if plugin else None,
    )
    engine = llm.llm_engine
    scheduler = engine.engine_core.engine_core.scheduler
    preemptions = [0]
    preempt = scheduler._preempt_request

    def counted_preempt(*args: object, **kwargs: object) -> None:
        preemptions[0] += 1
        preempt(*args, **kwargs)

    scheduler._preempt_request = counted_preempt
    tokens: list[list[int]] = [[] for _ in plan]
    candidates: list[list[dict[str, float]]] = [[] for _ in plan]
    cached = [0]
    step = 0

    def advance() -> None:
        for output in engine.step():
            index, completion = int(output.request_id.split("-")[0]), output.outputs[0]
            tokens[index] = list(completion.token_ids)
            candidates[index] = [
                {str(token): entry.logprob for token, entry in position.items()} for position in completion.logprobs
            ]
            if output.finished:
                cached[0] += output.num_cached_tokens or 0

    for index, planned in enumerate(plan):
        params = SamplingParams(
            temperature=0,
            max_tokens=planned["max_tokens"],
            ignore_eos=True,
            detokenize=False,
            logprobs=2,
            extra_args=dict(planned["extra"]),
        )
        prompt = {"prompt_token_ids": planned["prompt"]}
        engine.add_request(str(index), prompt, params, priority=planned["priority"])
        for _ in range(planned["steps"]):
            step += 1
            due = [str(number) for number, each in enumerate(plan[: index + 1]) if each["abort_at"] == step]
            engine.abort_request(due)
            advance()
    while engine.has_unfinished_requests():
        advance()
    counters: dict[str, int] = {}
    if plugin:
        for pin in list(scheduler.retention.pins):
            scheduler.retention.order(pin, 0, 0.0)
        counters = {str(outcome): count for outcome, count in scheduler.retention.reports.totals.items()}
        assert scheduler.retention.ownership.held_blocks == 0
    pool = scheduler.kv_cache_manager.block_pool
    return {
        "tokens": tokens,
        "candidates": candidates,
        "cached_tokens": cached[0],
        "preemptions": preemptions[0],
        "free_blocks": pool.get_num_free_blocks(),
        "total_blocks": len(pool.free_block_queue.get_all_free_blocks()),
        "counters": counters,
    }


if __name__ == "__main__":
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    plan_file, model_folder, result_file, kind = sys.argv[1:]
    result = run(json.loads(Path(plan_file).read_text()), Path(model_folder), kind == "plugin")
    Path(result_file).write_text(json.dumps(result))
