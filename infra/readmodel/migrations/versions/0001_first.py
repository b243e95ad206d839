"""The first tables.

From here on a migration expands (new columns are nullable or have a default, so that the last release still
runs on it), and only a later release takes away what no release uses any more.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and index."""
    _checkpoint()
    _event_log()
    _vms()
    _hosts()
    _operations()
    _operation_steps()


def _checkpoint() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _event_log() -> None:
    op.create_table(
        "event_log",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("event_id", sa.Uuid),
        sa.Column("type", sa.Text),
        sa.Column("time", sa.DateTime(timezone=True)),
        sa.Column("actor", sa.Text),
        sa.Column("causation_id", sa.Uuid),
        sa.Column("correlation_id", sa.Uuid),
        sa.Column("vm_id", sa.Uuid),
        sa.Column("host_id", sa.Uuid),
        sa.Column("body", JSONB),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_index("event_log_vm", "event_log", ["vm_id", "seq"])
    op.create_index("event_log_host", "event_log", ["host_id", "seq"])
    op.create_index("event_log_correlation", "event_log", ["correlation_id"])


def _vms() -> None:
    op.create_table(
        "vms",
        sa.Column("vm_id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vcpus", sa.BigInteger, nullable=False),
        sa.Column("memory_mib", sa.BigInteger, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("host_id", sa.Uuid),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("last_stop", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ctl_seq", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("vms_name", "vms", ["name"], postgresql_where=sa.text("phase <> 'deleted'"))


def _hosts() -> None:
    op.create_table(
        "hosts",
        sa.Column("host_id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("vcpus", sa.BigInteger, nullable=False),
        sa.Column("memory_mib", sa.BigInteger, nullable=False),
        sa.Column("allocated_vcpus", sa.BigInteger, nullable=False),
        sa.Column("allocated_memory_mib", sa.BigInteger, nullable=False),
        sa.Column("vms", sa.BigInteger, nullable=False),
        sa.Column("cores", sa.BigInteger, nullable=False),
        sa.Column("physical_memory_mib", sa.BigInteger, nullable=False),
        sa.Column("versions", JSONB),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True)),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )


def _operations() -> None:
    op.create_table(
        "operations",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("verb", sa.Text, nullable=False),
        sa.Column("vm_id", sa.Uuid, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("code", sa.Text),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_index("operations_accepted", "operations", ["accepted_at", "operation_id"])
    op.create_index("operations_vm", "operations", ["vm_id", "accepted_at", "operation_id"])


def _operation_steps() -> None:
    op.create_table(
        "operation_steps",
        sa.Column("operation_id", sa.Uuid, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Take everything away. The log holds all of it: a projector that starts at 0 makes it anew."""
    op.drop_table("operation_steps")
    op.drop_table("operations")
    op.drop_table("hosts")
    op.drop_table("vms")
    op.drop_table("event_log")
    op.drop_table("checkpoint")
