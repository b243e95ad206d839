"""Room: bring an installation into being: identities, accounts, streams, consumers, database schema.

Owns: the configuration of NATS accounts and streams; it widens what is there and refuses to narrow it.
May import: events, infra.runtime, infra.eventlog, infra.readmodel, nats, nkeys.
Must not: be needed by a running service; know where a server was started.
"""
