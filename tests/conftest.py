pytest_plugins = ["tests.engine_fixture", "tests.gateway_fixture", "tests.redis_fixture"]
