"""Room: what the API computes: ids at the edge, bodies, problems, rights.

Owns: the shape of every body that leaves or enters.
May import: events, pydantic.
Must not: do I/O, read a clock, draw randomness, or know HTTP's machinery.
"""
