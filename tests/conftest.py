from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

for size in ("COLUMNS", "LINES"):  # xdist's processes have both, and a console that is made at import keeps them
    os.environ.pop(size, None)

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = ["tests.engine_fixture", "tests.gateway_fixture", "tests.redis_fixture"]


class Together(LoadScopeScheduling):
    """What one of two processes runs whole: a file, and all files that use the engine."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.partition("::")[0])


@cache
def _group(file: str) -> str:
    return "engine" if "mark.engine" in Path(file).read_text() else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """How tests are shared by two processes."""
    return Together(config, log)
