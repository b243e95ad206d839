pytest_plugins = ["tests.support.stack", "tests.support.postgres", "tests.support.slow_callbacks"]
