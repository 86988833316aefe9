"""GPUs by their data sheets, and how much of the peaks an engine reaches."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    `memory` is what the driver offers to a process, in bytes, a little below the data sheet's round number.
    `flops` is the peak of dense bf16 with 32-bit sums, without sparsity; `bandwidth` the peak of memory and `link` of
    what joins GPUs of one machine (NVLink, else PCIe), one way, in bytes a second.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    link: float
    max_num_batched_tokens: int
    """vLLM's default for an API server on it (`EngineArgs.get_batch_defaults` of 0.32)."""
    max_num_seqs: int


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("H200", 139.8 * GIB, 4.80e12, 989.4e12, 450e9, 8192, 1024),
        Gpu("H100", 79.1 * GIB, 3.35e12, 989.4e12, 450e9, 8192, 1024),
        Gpu("A100", 79.1 * GIB, 2.039e12, 312.0e12, 300e9, 2048, 256),
        Gpu("A100-40G", 39.4 * GIB, 1.555e12, 312.0e12, 300e9, 2048, 256),
        Gpu("L40S", 44.4 * GIB, 0.864e12, 362.05e12, 32e9, 2048, 256),
        Gpu("A6000", 47.5 * GIB, 0.768e12, 154.85e12, 32e9, 2048, 256),
    )
}
"""By name; the SXM boards where there are several, and `A100` is the one with 80 GB. Sources: NVIDIA's data sheets "H200
Tensor Core GPU", "H100 Tensor Core GPU", "A100 Tensor Core GPU", "L40S" and "RTX A6000"; where they give peaks with
sparsity, half of it. Memory: what PyTorch reports on them."""

BANDWIDTH_SHARE = 0.80
"""Of peak bandwidth, while weights and KV are read. With it and the constants below, Llama-70B in 8 bits on two H100
takes 17.3 ms a token at batch 1; NVIDIA measured 18.6 ("NIM for LLMs Benchmarking: Performance", Llama-3.3-70b-instruct
1.8.0)."""

FLOPS_SHARE = 0.45
"""Of peak arithmetic, in the matrices of a long prefill: what 407 ms for 5,000 tokens on the same page comes to (44 %).
Training of Llama 3 reached 38 to 43 % over whole steps ("The Llama 3 Herd of Models", table 4)."""

ATTENTION_SHARE = 0.40
"""Of peak arithmetic, in causal attention over long contexts: between FlashAttention-2's 50 to 70 % on A100 and its
35 % on H100 ("FlashAttention-3", 2024)."""

DEQUANTIZE_SHARE = 0.85
"""The speed of 16-bit arithmetic on 4-bit weights relative to 16-bit ones in large batches, where unpacking is not
hidden; in small ones the kernel reads a quarter at full speed (Marlin: "MARLIN: Mixed-Precision Auto-Regressive
Parallel Inference on LLMs", 2024)."""

STEP_SECONDS = 1.0e-3
"""Scheduling, sampling and launching a step's graph, and another part for every layer:"""

LAYER_SECONDS = 15e-6
"""Norms, rotary embedding, activation and cache writes of one layer, which a roofline of its matrices leaves out."""

ALL_REDUCE_SECONDS = 12e-6
"""The latency of one all-reduce among the GPUs of a machine; a layer has two (NCCL's small-message latency)."""

HOST_BANDWIDTH = 20e9
"""Bytes a second that come back to one GPU from pinned CPU memory: PCIe 4.0 x16 has a peak of 32e9, of which large copies
get about two thirds. Newer boards have PCIe 5.0; this is the cautious side."""

MEMORY_SHARE = 0.92
"""Of a GPU's memory, that the engine takes (vLLM 0.32's default of `gpu_memory_utilization`)."""

OTHER_BYTES = 1.0 * GIB
"""CUDA's context, captured graphs and the allocator's loss on one GPU, beside weights, activations and KV."""
