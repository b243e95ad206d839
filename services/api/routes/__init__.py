"""Room: the paths of /api/v1, a module a noun.

Owns: nothing; each route authorizes, asks the desk or the read models, and renders.
May import: services.api, events, infra ports, FastAPI.
Must not: build adapters, or answer without authorization outside `system`.
"""
