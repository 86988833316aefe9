"""Becomes the command that follows, and ends with the process that started it, even if that is killed by SIGKILL.

    python -I -S tether.py PARENT COMMAND ARGUMENT ...

It is started by its path as a process of its own. On Linux the kernel sends SIGTERM when the parent ends; elsewhere the
command is only run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


def tied(command: Sequence[str]) -> list[str]:
    """The command line that runs the command as a child that ends with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(sys.argv[1]):
            sys.exit("the process that started this has ended")
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
