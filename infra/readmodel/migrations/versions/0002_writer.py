"""Name the writer of a checkpoint, so that one that was overtaken cannot write from what it remembers.

The rows are there from the start: a writer names itself in all of them at once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and a row for each stream that has none."""
    op.add_column("checkpoint", sa.Column("writer", sa.Uuid))
    op.execute("INSERT INTO checkpoint (stream, seq) VALUES ('EVT', 0), ('CMD', 0) ON CONFLICT DO NOTHING")


def downgrade() -> None:
    """Take the column away; rows at 0 say the same as none."""
    op.drop_column("checkpoint", "writer")
