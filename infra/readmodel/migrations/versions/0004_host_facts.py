"""Keep what a host is made of: processor, NUMA, huge pages, storages, networks, foreign domains.

One document: it is shown, and compared nowhere in SQL.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a host of an older release leaves it empty."""
    op.add_column("hosts", sa.Column("machine", JSONB))


def downgrade() -> None:
    """Take it away; the log holds what it held."""
    op.drop_column("hosts", "machine")
