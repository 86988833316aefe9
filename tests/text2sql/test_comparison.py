"""The comparison on two emulated engines behind the real gateway; their hours pass in seconds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from agentserve.cli import app
from agentserve.text2sql import command
from agentserve.text2sql.arms import ARMS, BASELINE, OURS, Arm
from agentserve.text2sql.comparison import Bench, settings
from agentserve.text2sql.engines import FAST, SLOW, Fleet
from scheduler.policy import parse_policy
from tests.demo.test_comparison import Strict
from workloads.text2sql.databases import digest, questions
from workloads.text2sql.load import Prepared, prepare
from workloads.text2sql.prompts import Stage

SPEED = 40.0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    return prepare(questions(tmp_path_factory.mktemp("databases"))[:3])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Fleet(Path("unused"), speed=SPEED, emulated=True).up(tmp_path, lambda _: None) as engines:
        yield Bench(engines, tmp_path, settings(max_revise=1, seed=1), lambda _: None)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
async def test_a_side_answers_every_question_through_its_gateway(
    bench: Bench, prepared: list[Prepared], arm: Arm
) -> None:
    before = {item.question.database: digest(item.question.database) for item in prepared}
    seen: list[str] = []
    played = await bench.run(arm, prepared, 2.0, 1, 30.0, lambda each: seen.append(each.question))
    assert [each.question for each in played] == [item.question.id for item in prepared]
    assert sorted(seen) == sorted(each.question for each in played)
    assert [each.error for each in played] == [""] * 3
    assert all(each.revisions == 1 and not each.ran for each in played), "filler is no SQL"
    assert {call.stage for each in played for call in each.calls} == set(Stage)
    engines = [call.engine for each in played for call in each.calls]
    assert set(engines) <= {FAST, SLOW}
    if arm is BASELINE:
        assert abs(engines.count(SLOW) - engines.count(FAST)) <= 1, "calls go to the engines by turns"
    assert {path: digest(path) for path in before} == before
    config = yaml.safe_load((bench.folder / f"{arm.name.replace(' ', '-')}.yaml").read_text())
    parts = replace(parse_policy(arm.policy), name="custom")
    assert parse_policy(config["policy"]) == parts, "a preset is written as its parts"


async def test_the_pace_is_measured(bench: Bench, prepared: list[Prepared]) -> None:
    alone = await bench.alone(prepared[:2])
    rate = await bench.saturation(prepared)
    assert alone > 0
    assert 0 < rate < 3 * len(prepared) / alone
    assert (bench.folder / "agentserve.state.json").is_file(), "what was learned is kept for the next gateway"


def test_the_command_ends_with_a_table_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Fleet", partial(Fleet, speed=SPEED))
    monkeypatch.setattr(command, "ALONE", 1)
    monkeypatch.setattr(command, "AT_ONCE", 2)
    out = tmp_path / "out"
    words = ["text2sql", "--emulated", "--questions", "2", "--max-revise", "0", "--out", str(out)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for words_of_table in ("latency, P95 (s)", "execution accuracy", "revisions a question", "generate_candidate"):
        assert words_of_table in done.output
    found = json.loads((out / "figures.json").read_text())
    assert {name: len(played) for name, played in found["arms"].items()} == {BASELINE.name: 2, OURS.name: 2}
    assert found["rate"] > 0
    page = (out / "index.html").read_text()
    parser: HTMLParser = Strict()
    parser.feed(page)
    assert page.count("<svg") == 3
    assert "emulated" in page


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--slo", "0"], "no question is answered in no time"),
        (["--slo", "nan"], "--slo must be above 0"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--max-revise", "11"], "--max-revise"),
        (["--questions", "61"], "--questions"),
        (["--slow-share", "0"], "--slow-share"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, words: list[str], reason: str) -> None:
    done = CliRunner().invoke(app, ["text2sql", "--emulated", "--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 2
    assert reason in " ".join(done.output.split())
    assert not (tmp_path / "out").exists(), "nothing was begun"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["text2sql", "--emulated", "--out", str(tmp_path / "file" / "out")])
    assert done.exit_code == 2
    assert "cannot be used" in done.output
