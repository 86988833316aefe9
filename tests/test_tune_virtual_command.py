"""`agentserve tune-virtual` as its user meets it: a table, a section that the gateway loads, mistakes in one message."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from agentserve.commands import tune_virtual as command
from agentserve.config import parse
from simulator.reasoner import tuning

POOLS = [{"model": name, "engines": [{"url": "http://127.0.0.1:1"}]} for name in ("small", "large")]
REASONER = {
    "model": "reasoner",
    "kind": "atts",
    "draft": "small",
    "target": "large",
    "strict": True,
    "answer": {"regex": "is (.)"},
}
VOTING = {"model": "voting", "kind": "self_consistency", "draft": "small"}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "SAMPLES", (2, 4))
    monkeypatch.setattr(tuning, "SEGMENTS", (500,))
    monkeypatch.setattr(tuning, "TAKEOVERS", (0.2,))


def run(folder: Path, *arguments: str, virtual: list[dict[str, object]] | None = None) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.tune_virtual)
    file = folder / "agentserve.yaml"
    file.write_text(yaml.safe_dump({"pools": POOLS, "virtual": [REASONER] if virtual is None else virtual}))
    fleet = ["--draft", "1xA100", "--draft-model", "llama-3.1-8b"]
    fleet += ["--target", "1xA100:tp2", "--target-model", "qwen2.5-32b"]
    fixed = [str(file), *fleet, "--questions", "8", "--out", str(folder / "virtual.yaml")]
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [*fixed, *arguments])


def test_the_section_that_is_written_is_one_that_the_gateway_loads(tmp_path: Path) -> None:
    result = run(tmp_path, "--tokens", "1e9")
    assert result.exit_code == 0, result.output
    assert "on fresh questions" in result.output
    assert "check the accuracy on questions of yours" in result.output
    written = (tmp_path / "virtual.yaml").read_text()
    assert written.startswith("# agentserve tune-virtual ")
    (section,) = parse({"pools": POOLS, "virtual": yaml.safe_load(written)}).virtual
    assert (section.samples, section.segment_tokens, section.takeover, section.turns) in (
        (2, 500, 0.2, 15),
        (4, 500, 0.2, 15),
    )
    assert (section.model, section.strict, section.answer.regex) == ("reasoner", True, "is (.)")


@pytest.mark.parametrize(
    ("arguments", "virtual", "what"),
    [
        ([], None, "give a budget"),
        (["--seconds", "0"], None, "--seconds must be above 0"),
        (["--tokens", "nan"], None, "--tokens must be above 0"),
        (["--seconds", "9", "--rate", "0"], None, "--rate must be above 0"),
        (["--seconds", "9", "--model", "other"], None, "no virtual model 'other'; there are reasoner"),
        (["--seconds", "9"], [], "has no virtual model"),
        (["--seconds", "9"], [REASONER, VOTING], "--model says which of reasoner, voting"),
        (["--seconds", "9"], [VOTING], "only atts has"),
        (["--seconds", "9", "--draft", "1xNothing"], None, "Nothing"),
        (["--seconds", "0.0001"], None, "no setting keeps the budget"),
    ],
)
def test_mistakes_are_told_in_one_message(
    tmp_path: Path, arguments: list[str], virtual: list[dict[str, object]] | None, what: str
) -> None:
    result = run(tmp_path, *arguments, virtual=virtual)
    assert result.exit_code == 2
    assert what in " ".join(result.output.split())
    assert not (tmp_path / "virtual.yaml").exists()
