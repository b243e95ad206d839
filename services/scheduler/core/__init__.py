"""Room: the scheduler's decisions, as functions from values to values.

Owns: placement, and what each command and each fact leads to.
May import: events.
Must not: do I/O, read a clock, or know NATS.
"""
