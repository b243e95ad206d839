"""Keep of a VM all that was asked for, and what its host says of the run.

A row of the last release has no spec: whoever reads it takes what that release knew from the other columns.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = ("spec", "running", "pause_cause", "responding", "agent", "effective", "last_failure")


def upgrade() -> None:
    """Add the columns; the last release can go on writing rows without them."""
    op.add_column("vms", sa.Column("spec", JSONB))
    op.add_column("vms", sa.Column("running", JSONB))
    op.add_column("vms", sa.Column("pause_cause", sa.Text))
    op.add_column("vms", sa.Column("responding", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("vms", sa.Column("agent", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("vms", sa.Column("effective", JSONB))
    op.add_column("vms", sa.Column("last_failure", JSONB))


def downgrade() -> None:
    """Take the columns away; a projector that starts at 0 makes them anew."""
    for name in COLUMNS:
        op.drop_column("vms", name)
