"""Room: what every process lives on: clock, ids, settings, logs, life cycle, back-off, threads, health.

Owns: the only calls to the system's clock and random source, and the only place where tasks are started.
May import: the standard library, pydantic-settings, structlog.
Must not: import another room of infra, or know what roost is about.
"""
