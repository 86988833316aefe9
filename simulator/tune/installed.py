"""Whether the search library is there, found out without importing it."""

from __future__ import annotations

from importlib.util import find_spec

HOW_TO_INSTALL = "tuning needs Optuna, which is not installed: pip install 'agentserve[tune]'"


def has_optuna() -> bool:
    """Whether a search can run."""
    return find_spec("optuna") is not None
