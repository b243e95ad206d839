"""Room: what an event means for the rows: pure functions from bytes and rows to rows.

Owns: how each event changes each read model.
May import: events and pydantic.
Must not: do I/O, read a clock, or know where rows are kept.
"""
