"""Room: the read models in PostgreSQL: tables, typed queries, checkpoints, migrations.

Owns: every table; that rows and checkpoint move in one transaction.
May import: events, infra.runtime, SQLAlchemy, alembic, asyncpg.
Must not: decide what an event means (services.projector does), or be the source of any truth.
"""
