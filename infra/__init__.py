"""Room: plumbing between the language and the services; a folder a port.

Owns: nothing itself.
May import: events.
Must not: decide anything, or import services.
"""
