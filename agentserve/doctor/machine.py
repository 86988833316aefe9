"""The machine: Python, processor, memory, open files."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from agentserve.doctor.check import Check, ok, problem, warning

OLDEST = (3, 11)
GIB = 1 << 20
"""KiB, in which /proc/meminfo counts."""
ENOUGH_GIB = 4.0
"""For a gateway and an engine with the demo model on the CPU."""
ENOUGH_FILES = 4096
"""Each call of a client takes two: its own connection and the engine's."""
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "asimd")
"""What a processor may compute with, the fastest first."""


def machine(cpuinfo: Path = Path("/proc/cpuinfo"), meminfo: Path = Path("/proc/meminfo")) -> Iterator[Check]:
    """All of it; where the system does not tell, nothing is said."""
    yield python(sys.version_info[:3])
    words = _words(cpuinfo)
    if words:
        yield processor(words)
    memory = _available(meminfo)
    if memory is not None:
        yield available(memory)
    yield files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def python(version: tuple[int, ...]) -> Check:
    """Whether it is new enough."""
    text = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version < OLDEST:
        return problem("python", text, "use Python 3.11 or later: `make setup PYTHON=python3.12`")
    return ok("python", text)


def processor(words: set[str]) -> Check:
    """What vLLM's CPU build finds there."""
    found = [name for name in VECTORS if name in words]
    told = ", ".join(found) or "neither AVX2 nor AVX-512"
    if not found:
        return warning("processor", told, "vLLM's CPU build needs AVX2 at least; serve from engines on other machines")
    if not words & {"amx_bf16", "avx512_bf16", "bf16"}:
        return warning(
            "processor",
            f"{told}, and no instructions for bfloat16",
            "on the CPU, launch engines with `--dtype float32` (agentserve does so by itself): bfloat16 takes ten times as long",
        )
    return ok("processor", told)


def available(kib: int) -> Check:
    """Whether an engine on this machine would fit."""
    gib = kib / GIB
    told = f"{gib:.1f} GiB are available"
    if gib < ENOUGH_GIB:
        return warning("memory", told, f"an engine on the CPU takes about {ENOUGH_GIB:g} GiB; end what need not run")
    return ok("memory", told)


def files(limit: int) -> Check:
    """Whether many clients may connect."""
    told = "any number may be open" if limit == resource.RLIM_INFINITY else f"{limit:,} may be open"
    if limit != resource.RLIM_INFINITY and limit < ENOUGH_FILES:
        return warning("files", told, f"with many clients at a time raise it: `ulimit -n {ENOUGH_FILES * 4}`")
    return ok("files", told)


def _words(cpuinfo: Path) -> set[str]:
    try:
        return set(cpuinfo.read_text().split())
    except OSError:
        return set()


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
