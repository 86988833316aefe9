"""What the gateway costs beside others: CPU of the process tree per call and per chunk, in front of the same mock.

    python -m tests.benchmarks.gateway_cost --harness FOLDER [--repetitions 5] [--only NAMES] [--json FILE] [--markdown FILE]
    python -m tests.benchmarks.gateway_cost --harness FOLDER --streams 1000 --seconds 60

FOLDER holds the gateway-bench harness with its environments set up (`setup_venvs.sh`); it is written to. The first form
runs every target in turn within each repetition, so that whatever disturbs the machine disturbs them all; the second
holds so many streams open through our gateway alone, a chunk each half a second, and as many without it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[2]
OURS = "agentserve"
PEER = "vllm-router-prog"
"""What ours is held against: the Rust router with its program scheduling."""
TARGETS = f"direct,ref-asgi-aiohttp,ref-fastapi-httpx,{PEER},smg,litellm,{OURS}"
SCENARIOS = "small_c1,small_c32,agentic_c8,agentic_1chunk_c8"
CHUNKS = 444
CHUNK_S, WAVE_S = 0.5, 50.0
"""Seconds from a chunk to the next, and of a stream, where many are held. The load generator gives up after 60 s."""
OPENED_S = 10
"""Seconds after which all streams of a wave are open."""
UPSTREAM_PORTS = (18001, 18002)
PORT = 18080

Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of one target. Times are CPU, except `added_p50_ms`, by which the median answer came later than direct."""

    target: str
    runs: int
    small_ms: float
    """A call of 1 KB, at 32 connections."""
    agentic_ms: float
    """A call of 400 KB with 444 chunks, one per 5 ms."""
    chunk_us: float
    """Each of these chunks, without what the body costs."""
    body_ms: float
    """A call of 400 KB with one chunk."""
    added_p50_ms: Mapping[str, float]
    of_peer: Mapping[str, Sequence[float]]
    """Of each figure of CPU: what it is of the peer's in the same repetition, the median, least and most."""


FIGURES = ("small_ms", "agentic_ms", "chunk_us", "body_ms")


def costs(runs: Runs) -> list[Cost]:
    """The medians over all repetitions of the harness's results, a target at a time."""
    names = list(dict.fromkeys(name for run in runs for name in run if name != "direct"))
    return [cost for name in names if (cost := _cost(name, runs)) is not None]


def _cost(name: str, runs: Runs) -> Cost | None:
    whole = [run for run in runs if _is_whole(run.get(name, {})) and _is_whole(run.get("direct", {}), tree=False)]
    if not whole:
        return None
    found = [_figures(run[name]) for run in whole]
    pairs = [(_figures(run[name]), _figures(run[PEER])) for run in whole if _is_whole(run.get(PEER, {}))]
    ratios = {figure: sorted(ours[figure] / peers[figure] for ours, peers in pairs) for figure in FIGURES if pairs}
    added = {
        scenario: round(median(_p50(run[name], scenario) - _p50(run["direct"], scenario) for run in whole), 3)
        for scenario in SCENARIOS.split(",")
    }
    return Cost(
        target=name,
        runs=len(whole),
        **{figure: round(median(each[figure] for each in found), 4) for figure in FIGURES},
        added_p50_ms=added,
        of_peer={figure: [round(x, 3) for x in (median(of), of[0], of[-1])] for figure, of in ratios.items()},
    )


def _figures(target: Mapping[str, Any]) -> dict[str, float]:
    small, agentic, body = (
        float(target["scenarios"][scenario]["gw"]["cpu_ms_per_req"])
        for scenario in ("small_c32", "agentic_c8", "agentic_1chunk_c8")
    )
    return dict(zip(FIGURES, (small, agentic, (agentic - body) * 1000 / (CHUNKS - 1), body), strict=True))


def _p50(target: Mapping[str, Any], scenario: str) -> float:
    return float(target["scenarios"][scenario]["p50_ms"])


def _is_whole(target: Mapping[str, Any], *, tree: bool = True) -> bool:
    """Every scenario was run, and every call of it succeeded."""
    scenarios = target.get("scenarios", {})
    return all(
        (found := scenarios.get(name)) is not None
        and found.get("ok")
        and found["ok"] == found["issued"]
        and (not tree or "gw" in found)
        for name in SCENARIOS.split(",")
    )


def table(found: Sequence[Cost]) -> str:
    """The costs as Markdown, each with its ratio to the peer's in the same repetition."""
    lines = [
        "| target | runs | small call, ms | agentic call, ms | paced chunk, us | 400 KB body, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for cost in found:
        cells = [_cell(getattr(cost, figure), cost.of_peer.get(figure)) for figure in FIGURES]
        lines.append(f"| {cost.target} | {cost.runs} | {' | '.join(cells)} |")
    lines += [
        "",
        "| target | added to the median answer, ms: small, 1 connection | small, 32 | agentic | 400 KB, one chunk |",
    ]
    lines.append("|---|---:|---:|---:|---:|")
    for cost in found:
        lines.append(f"| {cost.target} | {' | '.join(f'{value:.2f}' for value in cost.added_p50_ms.values())} |")
    return "\n".join(lines) + "\n"


def _cell(value: float, ratio: Sequence[float] | None) -> str:
    if not ratio:
        return f"{value:.3g}"
    middle, least, most = ratio
    return f"{value:.3g} ({middle:.2f}x, {least:.2f} to {most:.2f})"


# --- running the harness ------------------------------------------------------------------------------------------------


def _config(folder: Path, seqs: int = 256) -> Path:
    """Of engines that each run so many calls at once; 256 is what is assumed of one that does not say."""
    engines = [
        {"name": f"up{number}", "url": f"http://127.0.0.1:{port}", "max_num_seqs": seqs}
        for number, port in enumerate(UPSTREAM_PORTS)
    ]
    path = folder / "agentserve.yaml"
    path.write_text(yaml.safe_dump({"pools": [{"model": "mock", "engines": engines}]}))
    return path


def _command(config: Path, port: str) -> list[str]:
    return [sys.executable, "-P", "-m", "agentserve", "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]


def compare(harness: Path, only: str, repetitions: int) -> Runs:
    """Runs the harness with ours among its targets."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        ours = {
            "name": OURS,
            "command": shlex.join(_command(_config(folder), "PORT")).replace("PORT", "{port}"),
            "env": {"PYTHONPATH": str(ROOT)},
            "base_url": "http://127.0.0.1:{port}",
            "headers": ["x-session-id: {session}"],
            "ready": "/ready",
        }
        targets = yaml.safe_load((harness / "targets.yaml").read_text())
        (folder / "targets.yaml").write_text(yaml.safe_dump([*targets, ours]))
        command = [
            *(str(harness / "venvs/bench/bin/python"), "bench.py", "--targets", str(folder / "targets.yaml")),
            *("--only", only, "--scenarios", SCENARIOS, "--reps", str(repetitions), "--out", str(folder / "results")),
            *("--ports", *map(str, UPSTREAM_PORTS)),
        ]
        subprocess.run(command, cwd=harness, check=True)
        runs: Runs = json.loads((folder / "results.json").read_text())["runs"]
        return runs


def hold_streams(harness: Path, streams: int, seconds: int) -> Mapping[str, Any]:
    """Keeps that many streams open for about so long, in waves, between one without the gateway before and after."""
    python = str(harness / "venvs/bench/bin/python")
    mock_url = f"http://127.0.0.1:{UPSTREAM_PORTS[0]}"
    with TemporaryDirectory() as name:
        mock = [python, "mock_upstream.py", "--port", *map(str, UPSTREAM_PORTS)]
        with _process(mock, harness), _process(_command(_config(Path(name), streams), str(PORT)), ROOT) as gateway:
            url = f"http://127.0.0.1:{PORT}"
            _until_ready(f"{url}/ready")
            httpx.get(f"{mock_url}/_ctl?delay_ms={1000 * CHUNK_S:.0f}")
            direct = [_wave(harness, mock_url, streams)]
            waves = [_wave(harness, url, streams, gateway.pid) for _ in range(math.ceil(seconds / WAVE_S))]
            direct.append(_wave(harness, mock_url, streams))
    added = median(wave["p99_ms"] for wave in waves) - median(wave["p99_ms"] for wave in direct)
    complete = sum(wave["ok"] for wave in waves)
    failed = streams * len(waves) - complete
    return {
        "streams": streams,
        "complete": complete,
        "failed": failed,
        "growth": [round(max(held) / held[0] - 1, 3) for wave in waves if (held := wave["rss_mb"][OPENED_S:])],
        "added_p99_ms": round(added, 1),
        "waves": waves,
        "direct": direct,
    }


def _wave(harness: Path, url: str, streams: int, gateway: int | None = None) -> dict[str, Any]:
    """That many streams at once of `WAVE_S` seconds each: what the load generator says, and memory second by second."""
    load = [str(harness / "venvs/bench/bin/python"), "load.py", "--url", url, "--header", "x-session-id: {session}"]
    load += ["--concurrency", str(streams), "--count", str(streams), "--seconds", "60", "--hard", "60"]
    load += ["--stream", "--chunks", str(round(WAVE_S / CHUNK_S))]
    if gateway is not None:
        load += ["--pid", f"gw={gateway}"]
    rss_mb = []
    with subprocess.Popen(load, cwd=harness, stdout=subprocess.PIPE, text=True) as done:
        while done.poll() is None:
            if gateway is not None:
                rss_mb.append(_rss_mb(gateway))
            time.sleep(1)
        assert done.stdout is not None
        found: dict[str, Any] = json.loads(done.stdout.read().splitlines()[-1])
    return {**found, "rss_mb": rss_mb}


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


@contextmanager
def _process(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _until_ready(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("the gateway was not ready within 30 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default=TARGETS)
    parser.add_argument("--streams", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    harness = options.harness.resolve()
    if options.streams:
        held = hold_streams(harness, options.streams, options.seconds)
        text, value = json.dumps(held, indent=2) + "\n", dict(held)
    else:
        found = costs(compare(harness, options.only, options.repetitions))
        text, value = table(found), {"costs": [asdict(cost) for cost in found]}
    sys.stdout.write(text)
    if options.json:
        options.json.write_text(json.dumps(value, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
