"""The tables. Each has the columns of its view in `events.views`; `migrations/` brings a database to them.

Numbers are bigint and enums text throughout: what a newer writer sends must never fail to be stored.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    false,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("writer", Uuid),
)

event_log = Table(
    "event_log",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("subject", Text, nullable=False),
    Column("event_id", Uuid),
    Column("type", Text),
    Column("time", DateTime(timezone=True)),
    Column("actor", Text),
    Column("causation_id", Uuid),
    Column("correlation_id", Uuid),
    Column("vm_id", Uuid),
    Column("host_id", Uuid),
    Column("body", JSONB),
    Column("raw", LargeBinary, nullable=False),
    Index("event_log_vm", "vm_id", "seq"),
    Index("event_log_host", "host_id", "seq"),
    Index("event_log_correlation", "correlation_id"),
)

vms = Table(
    "vms",
    metadata,
    Column("vm_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("vcpus", BigInteger, nullable=False),
    Column("memory_mib", BigInteger, nullable=False),
    Column("image", Text, nullable=False),
    Column("desired", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("host_id", Uuid),
    Column("generation", BigInteger, nullable=False),
    Column("last_stop", Text),
    Column("spec", JSONB),
    Column("running", JSONB),
    Column("pause_cause", Text),
    Column("responding", Boolean, nullable=False, server_default=true()),
    Column("agent", Boolean, nullable=False, server_default=false()),
    Column("effective", JSONB),
    Column("last_failure", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("ctl_seq", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
)
Index("vms_name", vms.c.name, postgresql_where=vms.c.phase != "deleted")

hosts = Table(
    "hosts",
    metadata,
    Column("host_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("vcpus", BigInteger, nullable=False),
    Column("memory_mib", BigInteger, nullable=False),
    Column("allocated_vcpus", BigInteger, nullable=False),
    Column("allocated_memory_mib", BigInteger, nullable=False),
    Column("vms", BigInteger, nullable=False),
    Column("cores", BigInteger, nullable=False),
    Column("physical_memory_mib", BigInteger, nullable=False),
    Column("versions", JSONB),
    Column("boot_id", Text, nullable=False),
    Column("machine", JSONB),
    Column("reported_at", DateTime(timezone=True)),
    Column("seq", BigInteger, nullable=False),
)

operations = Table(
    "operations",
    metadata,
    Column("operation_id", Uuid, primary_key=True),
    Column("verb", Text, nullable=False),
    Column("vm_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("accepted_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("code", Text),
    Column("facts", JSONB, nullable=False),
    Column("seq", BigInteger, nullable=False),
    # Read backwards: the youngest first, and those without a time before all others.
    Index("operations_accepted", "accepted_at", "operation_id"),
    Index("operations_vm", "vm_id", "accepted_at", "operation_id"),
)

operation_steps = Table(
    "operation_steps",
    metadata,
    Column("operation_id", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
)
