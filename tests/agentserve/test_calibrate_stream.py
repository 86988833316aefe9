"""What is read from an engine's stream, byte by byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import pytest

from agentserve.calibration.campaign import Campaign
from agentserve.calibration.stream import Completions
from agentserve.engines.base import EngineError, Take
from simulator.calibrate.observation import Regime
from simulator.calibrate.plan import Point

TOKEN = b'data: {"choices": [{"index": 0, "text": "a"}], "usage": null}\n\n'


def usage(output: int, prompt: int = 100, cached: int | None = None) -> bytes:
    details = None if cached is None else {"cached_tokens": cached}
    spent = {"prompt_tokens": prompt, "completion_tokens": output, "prompt_tokens_details": details}
    return b"data: " + json.dumps({"choices": [], "usage": spent}).encode() + b"\n\ndata: [DONE]\n\n"


class CannedReply:
    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def relay(self, take: Take) -> None:
        for piece in self._pieces:
            take(piece)

    async def aclose(self) -> None:
        pass


class CannedLeg:
    """Answers every request with the same bytes."""

    url = "http://e"

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def open(self, path: str, headers: Mapping[str, str], body: bytes) -> CannedReply:
        return CannedReply(self._pieces)


async def test_events_are_found_however_the_stream_is_cut() -> None:
    whole = 3 * TOKEN + usage(3, cached=64)
    for size in (1, 7, len(whole)):
        leg = CannedLeg(*(whole[start : start + size] for start in range(0, len(whole), size)))
        stream = await Completions(leg, "m").run("text", 3)
        assert (len(stream.times), stream.prompt, stream.output, stream.cached) == (3, 100, 3, 64)


async def test_two_tokens_that_come_together_now_and_then_are_borne() -> None:
    stream = await Completions(CannedLeg(*9 * [TOKEN], usage(10)), "m").run("text", 10)
    assert len(stream.times) == 9


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([5 * TOKEN, usage(10)], "sent 10 tokens in 5 events"),
        ([10 * TOKEN, usage(10)], "sent 10 tokens at one and the same time"),
        ([4 * TOKEN, usage(4)], "reported 4 tokens of 10: it has to report usage in streams"),
        ([10 * TOKEN], "reported 0 tokens of 10"),
        ([b'data: {"error": {"message": "out of memory"}}\n\n'], "gave up a request: .*out of memory"),
        ([b"data: garbage\n\n"], "sent no event of a completion: b'garbage'"),
    ],
)
async def test_a_stream_that_cannot_be_timed_is_refused(pieces: list[bytes], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        await Completions(CannedLeg(*pieces), "m").run("text", 10)


@pytest.mark.parametrize(
    ("told", "block_size", "computed"), [(64, 16, 36), (None, 16, 4), (None, None, None), (0, 16, None)]
)
async def test_what_a_repeated_prompt_computes_is_told_or_follows_from_the_block_size(
    told: int | None, block_size: int | None, computed: int | None
) -> None:
    campaign = Campaign(Completions(CannedLeg(TOKEN, usage(1, cached=told)), "m"), 2048, block_size, "seed")
    observed = await campaign.observe(Point(Regime.PREFILL, 0, 100))
    again = [item.steps[0].prefill_tokens for item in observed if item.regime is Regime.CACHED]
    assert again == ([] if computed is None else [computed])


async def test_tokens_that_come_in_pairs_are_no_timing() -> None:
    """Half of the times between them are none; a fit would divide by them."""
    pieces = [14 * TOKEN, *11 * [TOKEN], usage(25)]
    campaign = Campaign(Completions(CannedLeg(*pieces), "m"), 1024, 64, "seed")
    with pytest.raises(EngineError, match="most tokens came together with the one before"):
        await campaign.observe(Point(Regime.DECODE, 1, 100))
