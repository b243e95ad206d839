"""Room: `roost`, the command line: a client of the API that starts fast and says what it did.

Owns: commands, exit codes, and how answers and refusals look in a terminal.
May import: the standard library, click, rich (lazily), yaml (lazily), events.codes.
Must not: import infra or another service, or talk to anything but the API.
"""
