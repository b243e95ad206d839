"""Room: what the command line computes: units, exit codes, lines of text.

Owns: the wording of refusals and the columns of tables.
May import: the standard library, events.codes.
Must not: read files or the environment, print, or open connections.
"""
