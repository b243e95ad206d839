"""Room: the processes, a folder each, all of one shape.

Owns: nothing itself.
May import: events, infra.
Must not: let one service import another; they meet in the log and in the read models.
"""
