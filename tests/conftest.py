pytest_plugins = [
    "tests.support.stack",
    "tests.support.postgres",
    "tests.support.nats_cluster",
    "tests.support.slow_callbacks",
]
