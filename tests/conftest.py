from hypothesis import settings

pytest_plugins = ["tests.engine_fixture", "tests.gateway_fixture", "tests.redis_fixture"]

settings.register_profile("fuzz", max_examples=20_000, deadline=None)
