"""The target of the benchmark of virtual models: deeper than the draft, and of the same mind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.reasoner.deepened import deepen

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=64, num_hidden_layers=2, initializer_range=0.5, **sizes)
    path = tmp_path_factory.mktemp("models") / "draft"
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def test_a_deepened_model_has_more_layers_and_says_the_same_to_the_bit(draft: Path) -> None:
    path = draft.with_name("target")
    deepen(draft, path, 3)
    ours, theirs = (transformers.AutoModelForCausalLM.from_pretrained(each) for each in (path, draft))
    assert len(ours.model.layers) == 6
    assert ours.num_parameters() > 2 * theirs.num_parameters()
    tokens = torch.arange(40).reshape(2, 20)
    assert torch.equal(ours(tokens).logits, theirs(tokens).logits)


def test_a_model_of_that_depth_is_left_alone_and_one_of_another_made_anew(draft: Path) -> None:
    path = draft.with_name("again")
    for times, layers in ((2, 4), (3, 6)):
        deepen(draft, path, times)
        assert transformers.AutoConfig.from_pretrained(path).num_hidden_layers == layers
    written = (path / "model.safetensors").stat().st_mtime_ns
    deepen(draft, path, 3)
    assert (path / "model.safetensors").stat().st_mtime_ns == written
