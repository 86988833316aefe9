"""The gateway that a validation starts: what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from agentserve.engines.base import EngineError
from agentserve.engines.process import LoggedProcess
from agentserve.validation.served import ServedEngine, ServedGateway
from scheduler.policy import PRESETS

SETTINGS: Mapping[str, object] = {"pools": [], "tune": {}, "record": "calls.jsonl"}


class FakeProcess:
    """A gateway that runs and says nothing; it ends after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.stopped = False

    @property
    def exit_code(self) -> int | None:
        return None if self.looks > 0 else 1

    def lines(self) -> list[str]:
        return ["the last line"]

    async def wait(self, limit: float) -> None:
        self.looks -= 1

    async def stop(self, grace: float) -> None:
        self.stopped = True


def engine(name: str, state: str) -> ServedEngine:
    return ServedEngine(name=name, model="m", url="http://e", state=state, problem="", spec=None)


def gateway(
    monkeypatch: pytest.MonkeyPatch, folder: Path, states: Sequence[Mapping[str, str]], looks: int
) -> ServedGateway:
    """One whose engines are in those states, look after look."""
    answers = iter(states)

    async def spawn(*_: object) -> FakeProcess:
        return FakeProcess(looks)

    async def engines(self: ServedGateway) -> list[ServedEngine]:
        told = next(answers)
        if not told:
            raise EngineError("nobody listens")
        return [engine(name, state) for name, state in told.items()]

    monkeypatch.setattr(LoggedProcess, "spawn", spawn)
    monkeypatch.setattr(ServedGateway, "engines", engines)
    return ServedGateway(SETTINGS, PRESETS["vllm"], folder, "gateway-0", ["fast", "slow"], told_lines.append)


told_lines: list[str] = []


async def test_it_is_ready_when_the_slowest_engine_is_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told_lines.clear()
    states = [
        {},
        {"fast": "up", "slow": "starting", "other": "starting"},
        {"fast": "up", "slow": "waiting", "other": "starting"},
        {"fast": "up", "slow": "up", "other": "starting"},
    ]
    async with gateway(monkeypatch, tmp_path, states, looks=10):
        pass
    assert [line.partition(": ")[0].partition(" for ")[2] for line in told_lines] == [
        "an answer",
        "engine slow",
        "engine slow",
    ]


async def test_one_that_ends_says_what_it_still_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"for want of engine slow; its log ends with\s+the last line"):
        async with gateway(monkeypatch, tmp_path, [{"fast": "up"}] * 5, looks=2):
            pass


async def test_what_the_owner_of_the_configuration_keeps_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with gateway(monkeypatch, tmp_path, [{"fast": "up", "slow": "up"}], looks=10):
        text = (tmp_path / "gateway-0.yaml").read_text()
    assert "tune" not in text
    assert "calls.jsonl" not in text
