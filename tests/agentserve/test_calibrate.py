"""Calibration against the emulated engine, over real sockets but in virtual time."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer
from typer.testing import CliRunner, Result

from agentserve.calibration.campaign import Campaign
from agentserve.calibration.stream import Completions
from agentserve.calibration.subject import Subject
from agentserve.commands import calibrate as command
from agentserve.commands.calibrate import Task, calibrate, measure
from agentserve.engines.base import EngineError
from agentserve.engines.emulated import EmulatedServer
from agentserve.engines.emulation.faults import Fault, Garbage, ServerError
from agentserve.engines.http import HttpLeg
from scheduler.types import EngineId
from simulator.calibrate.fit import FitFailedError, fit
from simulator.calibrate.observation import Observation, Regime, prefill_step
from simulator.calibrate.plan import Point, Sizes, points
from simulator.content import Extent
from simulator.engine import EngineConfig
from simulator.fleet import parse_fleet
from simulator.profile import CPU_SMOLLM2, StepProfile, StepWork, read_profile
from simulator.request import Request

Value = TypeVar("Value")

CONFIG = EngineConfig(num_blocks=128, block_size=64, max_model_len=4096, max_num_seqs=16, max_num_batched_tokens=1024)
GPU = StepProfile(
    "gpu", "test", constant=0.002, prefill_attention=1e-8, decode_context=2e-8, token=5e-5, token_floor=128
)
TOLERANCE = 0.05
"""Of step times. The client sees a step only to the nearest event of its loop."""


class VirtualSelector(selectors.DefaultSelector):
    """Waits for sockets only a moment; when nothing comes, time jumps to the next timer."""

    moment = 0.0005

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(timeout if timeout is None else min(timeout, self.moment))
        if not events and timeout is not None:
            self.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock runs only while nothing else happens."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def in_virtual_time(main: Coroutine[Any, Any, Value]) -> Value:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def task(url: str, *, model: str | None = None, minutes: float = 60.0) -> Task:
    return Task(url, model, minutes, CONFIG.max_num_batched_tokens, CONFIG.max_num_seqs, rounds=2)


async def timings(profile: StepProfile, fault: Fault | None = None, **fields: Any) -> tuple[Subject, list[Observation]]:
    server = EmulatedServer("m", CONFIG, profile, fault=fault)
    try:
        return await measure(task(await server.start(), **fields))
    finally:
        await server.stop()


@pytest.mark.parametrize("profile", [CPU_SMOLLM2, GPU], ids=lambda profile: profile.name)
def test_the_fitted_profile_has_the_step_times_of_the_emulated_engine(profile: StepProfile) -> None:
    subject, observations = in_virtual_time(timings(profile))
    assert subject == Subject("m", 4096, 64, 128)
    fitted = fit(observations, "p", "test")
    for batch, context in ((1, 100), (4, 1000), (16, 100), (16, 400)):
        decode = StepWork(decode_batch=batch, decode_context=batch * context)
        assert fitted.profile.seconds(decode) == pytest.approx(profile.seconds(decode), rel=TOLERANCE)
    for start, tokens, batch in ((0, 64, 0), (0, 1024, 0), (2048, 1024, 0), (2048, 32, 0), (0, 500, 8)):
        prefill = prefill_step(start, tokens, batch, batch * 400)
        assert fitted.profile.seconds(prefill) == pytest.approx(profile.seconds(prefill), rel=TOLERANCE)
    assert fitted.request_overhead < TOLERANCE * profile.constant
    assert fitted.errors.keys() == {"prefill", "cached", "decode", "mixed"}
    assert max(error.median for error in fitted.errors.values()) < TOLERANCE


def test_points_stay_within_what_the_engine_holds() -> None:
    sizes = Sizes(4096, 2048, 1024, 16)
    for point in points(sizes):
        assert point.tokens < 2048
        assert point.batch <= 16
        assert point.batch * point.tokens < 2048 or point.regime is Regime.MIXED
    assert {point.regime for point in points(sizes)} == {Regime.PREFILL, Regime.DECODE, Regime.MIXED}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (ServerError(), "refused a request with status 500: .*told to fail"),
        (Garbage(), "reported 0 tokens of 2: it has to report usage"),
    ],
)
def test_an_engine_that_fails_is_told_as_it_failed(fault: Fault, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        in_virtual_time(timings(CPU_SMOLLM2, fault))


def test_a_model_that_is_not_served_is_refused_with_those_that_are() -> None:
    with pytest.raises(EngineError, match="serves m, not other: name what it serves with --model"):
        in_virtual_time(timings(CPU_SMOLLM2, model="other"))


def test_a_busy_engine_is_not_measured() -> None:
    async def busy() -> None:
        server = EmulatedServer("m", CONFIG, CPU_SMOLLM2)
        server_url = await server.start()
        server.engine.add(Request("r", 10, 1000, (Extent(1, 1010),)), 0.0)
        try:
            await measure(task(server_url))
        finally:
            await server.stop()

    with pytest.raises(EngineError, match="has 1 requests; measure it while it is idle"):
        in_virtual_time(busy())


def test_a_batch_of_which_one_request_fails_is_told_as_that_failure() -> None:
    async def fail_in_a_batch() -> None:
        server = EmulatedServer("m", CONFIG, CPU_SMOLLM2)
        leg = HttpLeg(EngineId("e"), await server.start())
        campaign = Campaign(Completions(leg, "m"), 1024, 64, "seed")
        try:
            await campaign.observe(Point(Regime.DECODE, 2, 5000))
        finally:
            await leg.aclose()
            await server.stop()

    with pytest.raises(EngineError, match="maximum context length is 4096 tokens"):
        in_virtual_time(fail_in_a_batch())


def test_when_the_time_is_up_there_is_what_was_timed_until_then() -> None:
    _, little = in_virtual_time(timings(CPU_SMOLLM2, minutes=0.02))
    assert 0 < len(little) < 20
    with pytest.raises(FitFailedError, match="decode was timed at fewer than two points"):
        fit(little, "p", "test")


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(calibrate)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def measured() -> tuple[Subject, list[Observation]]:
    return in_virtual_time(timings(CPU_SMOLLM2))


def test_the_command_writes_a_profile_that_a_fleet_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: tuple[Subject, list[Observation]]
) -> None:
    async def as_measured(task: Task) -> tuple[Subject, list[Observation]]:
        return measured

    monkeypatch.setattr(command, "measure", as_measured)
    out = tmp_path / "box.json"
    result = run("--url", "http://e", "--out", str(out), "--hardware", "a box", "--max-num-batched-tokens", "1024")
    assert result.exit_code == 0, result.output
    about = read_profile(out).measured
    assert about is not None
    assert (about.model, about.hardware, about.num_blocks, about.max_num_batched_tokens) == ("m", "a box", 128, 1024)
    assert about.command.startswith("agentserve calibrate --url http://e --model m")
    assert about.fit["decode"].count > 10
    (engine,) = parse_fleet(str(out), "m")
    assert engine.config.kv_tokens == CONFIG.kv_tokens
    assert list(tmp_path.iterdir()) == [out]


def test_too_little_time_ends_the_command_with_2_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: tuple[Subject, list[Observation]]
) -> None:
    async def cut_short(task: Task) -> tuple[Subject, list[Observation]]:
        return measured[0], measured[1][:1]

    monkeypatch.setattr(command, "measure", cut_short)
    result = run("--url", "http://e", "--out", str(tmp_path / "p.json"), "--minutes", "0.5")
    assert result.exit_code == 2
    assert "prefill was timed at fewer than two points in 0.5 minutes: allow more --minutes" in result.output
    assert not list(tmp_path.iterdir())


def test_an_engine_that_does_not_answer_ends_the_command_with_2(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens
        result = run("--url", f"http://127.0.0.1:{held.getsockname()[1]}/v1", "--out", str(tmp_path / "p.json"))
    assert result.exit_code == 2
    assert "gave no answer to GET" in result.output


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    result = run("--url", "http://127.0.0.1:1", "--out", str(tmp_path / "none" / "p.json"))
    assert result.exit_code == 2
    assert "is no folder" in result.output


@pytest.mark.parametrize("url", ["127.0.0.1:8101", "ftp://e", "http://", "http://[::1", "http://e:port", "http://a b"])
def test_a_url_that_is_none_is_told_before_anything_is_measured(tmp_path: Path, url: str) -> None:
    result = run("--url", url, "--out", str(tmp_path / "p.json"))
    assert result.exit_code == 2
    assert "--url is a base URL as http://127.0.0.1:8101, not" in result.output.replace("\n", "")


def test_sizes_that_are_assumed_are_told_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: tuple[Subject, list[Observation]]
) -> None:
    async def as_measured(task: Task) -> tuple[Subject, list[Observation]]:
        return measured

    monkeypatch.setattr(command, "measure", as_measured)
    given = ["--url", "http://e", "--out", str(tmp_path / "p.json")]
    told = run(*given).output.replace("\n", "")
    assert "warning: --max-num-batched-tokens is not given" in told
    assert "warning: --max-num-seqs is not given" in told
    assert "warning" not in run(*given, "--max-num-batched-tokens", "1024", "--max-num-seqs", "16").output


def test_a_profile_that_cannot_be_completed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: tuple[Subject, list[Observation]]
) -> None:
    async def as_measured(task: Task) -> tuple[Subject, list[Observation]]:
        return measured

    def full(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "measure", as_measured)
    monkeypatch.setattr(Path, "replace", full)
    result = run("--url", "http://e", "--out", str(tmp_path / "p.json"))
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    assert not list(tmp_path.iterdir())
