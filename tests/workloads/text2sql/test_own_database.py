"""The command for a database of one's own, against a server that says the same to everything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from workloads.text2sql import __main__ as command
from workloads.text2sql.databases import prepare
from workloads.text2sql.domains import BANK

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "SELECT COUNT(*) FROM branches"}}]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(ANSWER)

    def do_DELETE(self) -> None:
        self.answer({})

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["text2sql", *map(str, words), "--model", "m", "How many branches are there?"])
    return command.main()


def test_a_question_is_answered_with_sql_and_rows(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--url", url, "--database", prepare(BANK, tmp_path), "--deadline", 30) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["SELECT COUNT(*) FROM branches", "10", "", "0 revisions"]
    assert [line.split()[0] for line in lines[4:]].count("generate_candidate") == 2


def test_what_is_wrong_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--database", tmp_path / "gone.sqlite") == 1
    assert "there is no database" in capsys.readouterr().err
    database = prepare(BANK, tmp_path)
    assert run(monkeypatch, "--url", "http://127.0.0.1:1", "--database", database) == 1
    assert "no answer from the gateway" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(monkeypatch, "--database", database, "--deadline", 0)
    assert "--deadline must be above 0 seconds" in capsys.readouterr().err
