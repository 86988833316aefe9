pytest_plugins = ["tests.engine_fixture"]
