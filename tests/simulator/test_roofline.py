from __future__ import annotations

from itertools import product

import pytest

from simulator.hardware import GIB, GPUS, MEMORY_SHARE
from simulator.models import MODELS
from simulator.profile import StepWork
from simulator.roofline import DoesNotFitError, Machine, Weights

LLAMA_8B, LLAMA_70B = MODELS["llama-3.1-8b"], MODELS["llama-3.1-70b"]


def decode_seconds(machine: Machine, batch: int, context: int = 500) -> float:
    return machine.profile().seconds(StepWork(decode_batch=batch, decode_context=batch * context))


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes"), [("llama-3.1-8b", 8.03e9, 131_072), ("llama-3.1-70b", 70.55e9, 327_680)]
)
def test_a_models_size_follows_from_its_shape(name: str, parameters: float, kv_bytes: int) -> None:
    shape = MODELS[name]
    assert shape.linear_parameters + 2 * shape.head_parameters == pytest.approx(parameters, rel=0.002)
    assert shape.kv_token_bytes == kv_bytes


def test_four_bit_weights_take_what_published_checkpoints_take() -> None:
    assert Machine(GPUS["A100"], LLAMA_70B, Weights.W4).weight_bytes == pytest.approx(39.8e9, rel=0.02)


@pytest.mark.parametrize(("gpu", "tokens_per_s"), [("H100", 145), ("A100", 92), ("L40S", 42), ("A6000", 37)])
def test_single_stream_speeds_of_the_8b_are_near_those_people_see(gpu: str, tokens_per_s: float) -> None:
    assert 1 / decode_seconds(Machine(GPUS[gpu], LLAMA_8B), 1) == pytest.approx(tokens_per_s, rel=0.1)


def test_small_batches_are_bound_by_memory_and_large_ones_by_arithmetic() -> None:
    machine = Machine(GPUS["A100"], LLAMA_8B)
    floor = machine.profile().token_floor
    assert 50 < floor < 200
    assert decode_seconds(machine, floor // 2, 1) == pytest.approx(decode_seconds(machine, 1, 1), rel=0.01)
    assert decode_seconds(machine, 4 * floor, 1) > 2 * decode_seconds(machine, 1, 1)


def test_four_bit_weights_speed_up_decode_and_not_prefill() -> None:
    bf16, w4 = (Machine(GPUS["A100"], LLAMA_8B, weights) for weights in Weights)
    assert decode_seconds(bf16, 1) / decode_seconds(w4, 1) > 2
    prefill = StepWork(2048, 2048 * 1024)
    assert w4.profile().seconds(prefill) > bf16.profile().seconds(prefill)


def test_more_gpus_are_faster_but_not_in_proportion() -> None:
    one, four = (Machine(GPUS["H100"], LLAMA_8B, tensor_parallel=degree) for degree in (1, 4))
    assert 1 < decode_seconds(one, 8) / decode_seconds(four, 8) < 4


def test_kv_memory_is_what_the_weights_leave() -> None:
    machine = Machine(GPUS["H100"], LLAMA_8B)
    tokens = machine.kv_tokens(8192, 1024)
    beside = GPUS["H100"].memory * MEMORY_SHARE - machine.weight_bytes
    assert 0.9 * beside < tokens * LLAMA_8B.kv_token_bytes < beside
    assert Machine(GPUS["H100"], LLAMA_8B, tensor_parallel=2).kv_tokens(8192, 1024) > 2 * tokens


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    machine = Machine(GPUS["A6000"], LLAMA_70B)
    with pytest.raises(DoesNotFitError, match=r"takes 13\d\.\d GiB on each A6000, \d+\.\d GiB more than the 43.7 GiB"):
        machine.kv_tokens(2048, 256)
    assert machine.weight_bytes > 130 * GIB


def test_kv_heads_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match="8 KV heads, which cannot be divided among 3 GPUs"):
        Machine(GPUS["H100"], LLAMA_8B, tensor_parallel=3)


@pytest.mark.parametrize(("gpu", "model", "weights"), [*product(GPUS, MODELS, Weights)])
def test_every_combination_has_a_profile_marked_as_modelled(gpu: str, model: str, weights: Weights) -> None:
    assert Machine(GPUS[gpu], MODELS[model], weights, 8).profile().source.startswith("modelled")
