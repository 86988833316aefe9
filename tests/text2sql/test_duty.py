"""A group that is stopped for part of the time runs on when what stops it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentserve.text2sql import duty

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc for a process's state")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A group of one process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def brake(group: int, share: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", duty.__file__, str(group), str(share)])


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def until(pid: int, state: bool) -> None:
    for _ in range(10_000):
        if stopped(pid) == state:
            return
        time.sleep(0.001)
    pytest.fail(f"the process was never {'stopped' if state else 'running'}")


def test_a_group_is_stopped_and_goes_on_in_turns(sleeper: subprocess.Popen[bytes]) -> None:
    process = brake(sleeper.pid, 0.5)
    for _ in range(3):
        until(sleeper.pid, True)
        until(sleeper.pid, False)
    process.terminate()
    assert process.wait(10) == 0
    until(sleeper.pid, False)


def test_it_ends_with_the_group(sleeper: subprocess.Popen[bytes]) -> None:
    process = brake(sleeper.pid, 0.3)
    until(sleeper.pid, True)
    os.killpg(sleeper.pid, signal.SIGKILL)
    sleeper.wait()
    assert process.wait(10) == 0


def test_it_ends_with_the_process_that_started_it(sleeper: subprocess.Popen[bytes]) -> None:
    words = [sys.executable, "-I", duty.__file__, str(sleeper.pid), "0.1"]
    parent = f"import subprocess, time; p = subprocess.Popen({words!r}); print(p.pid, flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    until(sleeper.pid, True)
    process.kill()
    process.wait()
    process.stdout.close()
    for _ in range(10_000):
        if not Path(f"/proc/{child}").exists() or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.001)
    else:
        pytest.fail("it outlived the process that started it")
    until(sleeper.pid, False)


def test_the_share_of_time_holds_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own: late wake-ups are made up for."""
    clock = [0.0]
    sent: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        clock[0] += seconds + 0.003

    def killpg(_: int, number: int) -> None:
        if len(sent) == 2_000:
            raise ProcessLookupError
        sent.append((clock[0], number))

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(os, "killpg", killpg)
    duty.hold(1, share=0.4, period=0.04)
    pairs = list(zip(sent[::2], sent[1::2], strict=True))
    assert all((stop[1], go[1]) == (signal.SIGSTOP, signal.SIGCONT) for stop, go in pairs)
    idle = sum(go[0] - stop[0] for stop, go in pairs)
    assert idle / (sent[-1][0] - sent[0][0]) == pytest.approx(0.6, abs=0.01)
