"""Room: the event log: append under guards, load, follow, consume; and signals, which nobody stores.

Owns: the connection to NATS, unknown outcomes and their resolution, the memory twin.
May import: events, infra.runtime, nats.
Must not: know what a message means; make streams or consumers (infra.deploy does).
"""
