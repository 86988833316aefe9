"""A target of several times its draft's cost, made of the draft: the same text, more layers.

No larger model of a small vocabulary comes in a package. So every layer of the draft is followed by copies of itself
whose two output projections are zero. They compute all that the layer computes, and add nothing to the residual stream:
the deepened model writes, to the bit, what the draft would have written. It has the times of a larger model, and shows
nothing of what a better one is worth.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
SILENT = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""What of a copy is zero: where a layer's attention and its MLP are added to the residual stream."""


def deepen(source: Path, path: Path, times: int) -> None:
    """Writes the model of a folder, a Llama in one file, with so many layers for each of its own, unless it is there."""
    if (path / "config.json").is_file() and _layers(path) == times * _layers(source):
        return
    draft = path.with_name(path.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    _write_weights(source, draft, times)
    config = json.loads((source / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps(config | {"num_hidden_layers": times * _layers(source)}, indent=2))
    shutil.rmtree(path, ignore_errors=True)
    draft.rename(path)


def _layers(path: Path) -> int:
    layers: int = json.loads((path / "config.json").read_text())["num_hidden_layers"]
    return layers


def _write_weights(source: Path, path: Path, times: int) -> None:
    from safetensors.torch import load_file, save_file

    weights = {}
    for name, weight in load_file(source / "model.safetensors").items():
        match = _LAYER.fullmatch(name)
        if match is None:
            weights[name] = weight
            continue
        first, part = times * int(match[1]), match[2]
        weights[f"model.layers.{first}.{part}"] = weight
        for copy in range(first + 1, first + times):
            weights[f"model.layers.{copy}.{part}"] = weight.clone().zero_() if part in SILENT else weight.clone()
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
