"""Room: the whole of roost on one machine, for a look, for the demo and for tests.

Owns: the order in which servers, hosts and services start and stop, and the data folder.
May import: events and every room of infra. Services are started as processes, never imported.
Must not: be used in production; leave a process behind.
"""
