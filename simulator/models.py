"""The models that hardware is modelled with: the shapes that memory and arithmetic follow from."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.types import Tokens

KV_BYTES = 2
"""Bytes of one number of the KV cache: it stays in 16 bits when weights are quantised."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A dense decoder with grouped-query attention and a gated MLP; the numbers of its `config.json`."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_model_len: Tokens

    @property
    def linear_parameters(self) -> int:
        """The weights of the layers' matrices, which quantisation shrinks."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_parameters(self) -> int:
        """The weights of the output matrix; the embedding has as many."""
        return self.vocabulary * self.hidden

    @property
    def kv_token_bytes(self) -> int:
        """What one token's KV takes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * KV_BYTES

    @property
    def attention_flops(self) -> int:
        """Operations for one token to attend to one token: two products of a head's width in every head."""
        return 4 * self.layers * self.heads * self.head_dim


MODELS = {
    shape.name: shape
    for shape in (
        ModelShape("llama-3.1-8b", 32, 4096, 14336, 32, 8, 128, 128_256, 131_072),
        ModelShape("qwen2.5-32b", 64, 5120, 27648, 40, 8, 128, 152_064, 32_768),
        ModelShape("llama-3.1-70b", 80, 8192, 28672, 64, 8, 128, 128_256, 131_072),
    )
}
"""By name. Source: the models' published configurations (Meta, "The Llama 3 Herd of Models", table 3; Qwen, "Qwen2.5 technical
report")."""
