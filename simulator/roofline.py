"""Modelled engines: step times from a roofline, KV memory from what the weights leave.

What one matrix product takes is the larger of reading its weights and computing its tokens. Attention is added to it:
prefill by its arithmetic, decode by reading KV. With tensor parallelism every GPU holds and computes its share, and
two all-reduces a layer are added. The numbers and their sources are in `hardware` and `models`; a calibration of the
real engine beats them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from scheduler.types import Tokens
from simulator.hardware import (
    ALL_REDUCE_SECONDS,
    ATTENTION_SHARE,
    BANDWIDTH_SHARE,
    DEQUANTIZE_SHARE,
    FLOPS_SHARE,
    GIB,
    LAYER_SECONDS,
    MEMORY_SHARE,
    OTHER_BYTES,
    STEP_SECONDS,
    Gpu,
)
from simulator.models import ModelShape
from simulator.profile import StepProfile

WIDTH = 2
"""Bytes of an activation and of a weight that is not quantised."""


class Weights(Enum):
    """How the layers' matrices are stored; the value is what a person writes."""

    BF16 = "bf16"
    W4 = "w4"
    """4 bits, with a 16-bit scale and a 4-bit zero for every 128 (AWQ's and GPTQ's usual groups)."""

    @property
    def bytes(self) -> float:
        """Bytes a weight."""
        return WIDTH if self is Weights.BF16 else (4 + (16 + 4) / 128) / 8


class DoesNotFitError(ValueError):
    """The weights leave no room for KV. The message says by how much."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A model on `tensor_parallel` GPUs of one kind.

    Raises:
        ValueError: the model's KV heads cannot be divided among so many GPUs.
    """

    gpu: Gpu
    model: ModelShape
    weights: Weights = Weights.BF16
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        if self.tensor_parallel < 1 or self.model.kv_heads % self.tensor_parallel:
            raise ValueError(
                f"{self.model.name} has {self.model.kv_heads} KV heads, which cannot be divided among "
                f"{self.tensor_parallel} GPUs"
            )

    @property
    def weight_bytes(self) -> float:
        """What the weights take on each GPU."""
        ends = 2 * self.model.head_parameters * WIDTH
        return (self.model.linear_parameters * self.weights.bytes + ends) / self.tensor_parallel

    def activation_bytes(self, max_num_batched_tokens: Tokens, max_num_seqs: int) -> float:
        """What the largest step needs on each GPU: the widest layer's inputs and outputs, and 32-bit logits."""
        layer = max_num_batched_tokens * (2 * self.model.intermediate / self.tensor_parallel + 4 * self.model.hidden)
        return layer * WIDTH + max_num_seqs * self.model.vocabulary * (4 + WIDTH) / self.tensor_parallel

    def kv_tokens(
        self, max_num_batched_tokens: Tokens, max_num_seqs: int, memory_share: float = MEMORY_SHARE
    ) -> Tokens:
        """The tokens whose KV fits beside the weights.

        Raises:
            DoesNotFitError: not even one.
        """
        taken = self.weight_bytes + self.activation_bytes(max_num_batched_tokens, max_num_seqs) + OTHER_BYTES
        room = self.gpu.memory * memory_share - taken
        tokens = int(room * self.tensor_parallel // self.model.kv_token_bytes)
        if tokens < 1:
            raise DoesNotFitError(
                f"{self.model.name} in {self.weights.value} takes {taken / GIB:.1f} GiB on each {self.gpu.name}, "
                f"{-room / GIB:.1f} GiB more than the {self.gpu.memory * memory_share / GIB:.1f} GiB it can use"
            )
        return tokens

    def profile(self) -> StepProfile:
        """How long its steps take."""
        token = self._token_flops / self._flops
        reading = self._read_bytes / self._bandwidth
        return StepProfile(
            name=f"{self.gpu.name} {self.model.name} {self.weights.value} tp{self.tensor_parallel}",
            source="modelled: a roofline of published peaks, see simulator/hardware.py for the shares reached",
            constant=STEP_SECONDS + self.model.layers * LAYER_SECONDS + self._all_reduce_seconds,
            prefill_token=self._all_reduce_token,
            prefill_attention=self.model.attention_flops / self.tensor_parallel / (self.gpu.flops * ATTENTION_SHARE),
            decode_request=self._all_reduce_token,
            decode_context=self.model.kv_token_bytes / self.tensor_parallel / self._bandwidth,
            token=token,
            token_floor=round(reading / token),
        )

    @property
    def _bandwidth(self) -> float:
        return self.gpu.bandwidth * BANDWIDTH_SHARE

    @property
    def _flops(self) -> float:
        return self.gpu.flops * FLOPS_SHARE * (1.0 if self.weights is Weights.BF16 else DEQUANTIZE_SHARE)

    @property
    def _token_flops(self) -> float:
        """Operations a token, on each GPU: two a weight. Only last tokens pass the output matrix."""
        return 2 * self.model.linear_parameters / self.tensor_parallel

    @property
    def _read_bytes(self) -> float:
        """What a step reads of the weights on each GPU: all but the embedding."""
        return self.weight_bytes - self.model.head_parameters * WIDTH / self.tensor_parallel

    @property
    def _all_reduce_seconds(self) -> float:
        return 2 * self.model.layers * ALL_REDUCE_SECONDS if self.tensor_parallel > 1 else 0.0

    @property
    def _all_reduce_token(self) -> float:
        """Moving one token's activations twice a layer, by a ring."""
        share = 2 * (self.tensor_parallel - 1) / self.tensor_parallel
        return 2 * self.model.layers * share * self.model.hidden * WIDTH / self.gpu.link
