"""Rollouts on a real vLLM: its tokens and log-probabilities, and weights that change while a sample is written."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentserve.engines.demo_model import prepare
from tests.engine_fixture import MODEL_PATH, RealEngine
from tests.gateway_fixture import Gateway

pytestmark = pytest.mark.engine

GREEDY = {"temperature": 0, "ignore_eos": True}
PROMPT = "The quick brown fox jumps over the lazy dog. " * 12


class Trainer:
    def __init__(self, http: httpx.AsyncClient, engine: RealEngine) -> None:
        self._http = http
        self._engine = engine

    async def post(self, route: str, **body: object) -> dict[str, Any]:
        model = {"model": self._engine.model}
        answer = await self._http.post(f"/agentserve/v1/rollouts/{route}", json={**model, **body})
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def sample(self, tokens: int, prompt: str = PROMPT) -> dict[str, Any]:
        group = await self.post("groups", prompt=prompt, max_tokens=tokens, sampling=GREEDY)
        sample: dict[str, Any] = group["samples"][0]
        return sample

    async def cached(self) -> int:
        """How much of the prompt the engine has in its cache."""
        body = {"model": self._engine.model, "prompt": PROMPT, "max_tokens": 1}
        usage = (await self._http.post("/v1/completions", json=body)).json()["usage"]
        return int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)

    async def written(self) -> float:
        """Tokens that the engine has generated since its start."""
        page = (await self._http.get(f"{self._engine.url}/metrics")).text
        return sum(float(count) for count in re.findall(r"^vllm:generation_tokens_total\S* (\S+)$", page, re.MULTILINE))


@pytest.fixture
async def trainer(gateway: Gateway, vllm_engine: RealEngine) -> AsyncIterator[Trainer]:
    """The engine has the weights that it began with again when the test is over: others use it too."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=300) as http:
        trainer = Trainer(http, vllm_engine)
        yield trainer
        await trainer.post("weights", version=99, path=str(prepare(MODEL_PATH)), drain=0)


@pytest.fixture(scope="module")
def other_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with its last norm reversed in half of its channels: it writes something else."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("weights") / "1"
    shutil.copytree(prepare(MODEL_PATH), folder)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name in tensors:
            if name == "model.norm.weight":
                tensors[name][::2] *= -1
        save_file(tensors, file, {"format": "pt"})
    return folder


async def test_a_group_has_the_engines_own_tokens_and_log_probabilities(trainer: Trainer) -> None:
    group = await trainer.post("groups", prompt=PROMPT, n=4, max_tokens=12, sampling={"temperature": 1.0, "seed": 3})
    assert len(group["prompt_token_ids"]) > 100
    assert len({tuple(sample["token_ids"]) for sample in group["samples"]}) > 1
    for sample in group["samples"]:
        assert len(sample["token_ids"]) == len(sample["logprobs"]) > 0
        assert all(logprob <= 0 for logprob in sample["logprobs"])
        assert sample["segments"] == [{"version": 0, "engine": "real", "start": 0, "end": len(sample["token_ids"])}]


async def test_a_sample_goes_on_with_the_weights_that_are_loaded_while_it_is_written(
    trainer: Trainer, other_weights: Path
) -> None:
    before = await trainer.sample(48)
    assert await trainer.cached() > 0
    count = await trainer.written()
    writing = asyncio.create_task(trainer.sample(300))
    while await trainer.written() < count + 3:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.05)
    said = await trainer.post("weights", version=1, path=str(other_weights), drain=0)
    assert [(each["version"], each["interrupted"], each["error"]) for each in said["engines"]] == [(1, 1, "")]
    sample = await writing
    first, second = sample["segments"]
    assert (first["version"], second["version"], second["end"]) == (0, 1, 300)
    shared = min(first["end"], 48)
    assert sample["token_ids"][:shared] == before["token_ids"][:shared]

    after = await trainer.sample(48)
    assert after["token_ids"] != before["token_ids"]
    assert after["segments"][0]["version"] == 1
    await trainer.post("weights", version=2, path=str(prepare(MODEL_PATH)))
    assert await trainer.cached() == 0, "KV of older weights is not reused"
    assert (await trainer.sample(48))["token_ids"] == before["token_ids"]


async def test_a_folder_that_is_not_there_leaves_the_engine_as_it_is(trainer: Trainer) -> None:
    before = await trainer.sample(8)
    with pytest.raises(AssertionError, match="there is no folder /nowhere"):
        await trainer.post("weights", version=1, path="/nowhere")
    assert (await trainer.sample(8))["token_ids"] == before["token_ids"]
