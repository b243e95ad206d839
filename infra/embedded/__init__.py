"""Room: a nats-server and a PostgreSQL of our own, for `roost dev` and for tests.

Owns: the server processes that it starts, their data folders, and that they die with their parent.
May import: infra.runtime, infra.deploy.
Must not: be used in production, listen beyond loopback, or change the machine (users, modes of parents).
"""
