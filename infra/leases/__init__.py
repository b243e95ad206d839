"""Room: leases: who of several does something for the time being, told by one message on one subject.

Owns: the stream LEASE, what its messages say, the clocks of holder and watcher, the memory twin.
May import: events, infra.runtime, infra.eventlog, nats.
Must not: be what makes a decision right (guards do); read a wall clock; make the stream (infra.deploy does).
"""
