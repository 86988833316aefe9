import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

pytest_plugins = ["tests.engine_fixture", "tests.gateway_fixture", "tests.redis_fixture"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says what has to run in one process when two share the tests: all that use the engine, and otherwise each file."""
    for item in items:
        group = "engine" if item.get_closest_marker("engine") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
