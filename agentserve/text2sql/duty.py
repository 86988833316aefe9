"""Slows a process group down: it runs for a share of each period and is stopped for the rest.

It needs no privileges and no control groups, so it works in a container too: the group only has to be ours. This file
is started by its path as a process of its own. It ends with the group, and with the process that started it; however it
ends, the group runs on, unless this process is killed by SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PERIOD = 0.04
"""Seconds, about what a decode step takes: a stop is no longer than a pause between two tokens."""


def hold(group: int, share: float, period: float = PERIOD) -> None:
    """Lets the group run for `share` of the time, until it or our parent is gone.

    Edges have a fixed rhythm, so that a late wake-up makes no difference in the mean.
    """
    parent = os.getppid()
    edge = time.monotonic()
    try:
        while os.getppid() == parent:
            os.killpg(group, signal.SIGSTOP)
            _sleep_until(edge + (1.0 - share) * period)
            os.killpg(group, signal.SIGCONT)
            edge = max(edge + period, time.monotonic() - period)
            _sleep_until(edge)
    except ProcessLookupError:
        return
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        hold(int(sys.argv[1]), float(sys.argv[2]))
