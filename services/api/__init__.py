"""Room: the one door for people and programs: HTTP in, commands onto the log, read models out.

Owns: the paths and bodies under /api/v1, who may call them, and how each refusal reads (RFC 9457).
May import: events, infra (real adapters in main.py alone), FastAPI, uvicorn.
Must not: decide anything about a VM, read of EVT more than its end, write it, or import another service.
"""
