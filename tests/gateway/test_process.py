"""The whole process: the command, an emulated engine, real sockets, a signal."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentserve.gateway.tenants.keys import changing
from scheduler.log import replay

CONFIG = """
listen: 127.0.0.1:{port}
state: {folder}/state.json
event_log: {folder}/events.jsonl
pools:
  - model: m
    engines:
      - {{name: a, emulated: {{speed: 100.0}}}}
      - {{name: b, emulated: {{speed: 100.0}}}}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "agentserve.yaml"
    config.write_text(CONFIG.format(port=port, folder=tmp_path))
    process = subprocess.Popen([sys.executable, "-m", "agentserve", "serve", "--config", str(config)])
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def until_ready(url: str, trust: ssl.SSLContext | bool = True) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/ready", verify=trust).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the gateway was not ready within 30 s")


def test_a_program_is_served_and_the_process_ends_on_a_signal(
    server: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, url = server
    until_ready(url)
    messages = [{"role": "user", "content": "count to ten " * 200}]
    engines = set()
    for _ in range(3):
        body = {"model": "m", "messages": messages, "max_tokens": 8}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        engines.add(answer.headers["x-agentserve-engine"])
        messages += [answer.json()["choices"][0]["message"], {"role": "user", "content": "go on"}]
    assert len(engines) == 1, "a program stays where its KV is"
    assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 500
    (program,) = httpx.get(f"{url}/agentserve/v1/programs").json()["programs"]
    assert program["served"] == 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert json.loads((tmp_path / "state.json").read_text())["prefill_rates"]
    result = replay((tmp_path / "events.jsonl").read_text().splitlines())
    assert result.first_difference is None


def test_https_is_served_by_flags_and_asks_for_keys(tmp_path: Path) -> None:
    certificate, key, keys = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "keys.json"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *names], check=True, capture_output=True)
    with changing(keys) as ring:
        text = ring.create("a", 0.0).text
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "agentserve.yaml"
    config.write_text(CONFIG.format(port=port, folder=tmp_path))
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key), "--keys", str(keys)]
    command = [sys.executable, "-m", "agentserve", "serve", "--config", str(config), *flags]
    process = subprocess.Popen(command)
    trust = ssl.create_default_context(cafile=certificate)
    try:
        until_ready(f"https://127.0.0.1:{port}", trust)
        models = f"https://127.0.0.1:{port}/v1/models"
        assert httpx.get(models, verify=trust).status_code == 401
        assert httpx.get(models, verify=trust, headers={"x-api-key": text}).status_code == 200
    finally:
        process.kill()
        process.wait()


def test_a_signal_lets_calls_under_way_finish_and_the_process_end(
    server: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, url = server
    until_ready(url)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2000, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
        pieces = answer.iter_raw()
        got = next(pieces)
        process.send_signal(signal.SIGTERM)
        got += b"".join(pieces)
    assert got.endswith(b"data: [DONE]\n\n")
    assert process.wait(timeout=30) == 0
