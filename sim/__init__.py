"""Room: the proof of roost: what must hold in any log, and whether it holds in a live one.

Owns: the checkers, and `roost log`.
May import: everything below, cores of services included.
Must not: write anything into the log or the read models it looks at.
"""
