pytest_plugins = [
    "tests.support.slow_callbacks",
    "tests.support.stack",
    "tests.support.postgres",
    "tests.support.nats_cluster",
]
