"""Room: the language of roost: ids, values, commands, events, codes, subjects, envelope and codec.

Owns: every type and (type, version) on the wire, the verb table, the catalogue of codes, the JSON schemas.
May import: the standard library and pydantic.
Must not: do I/O, read a clock, draw randomness, log, or import another room.
"""
