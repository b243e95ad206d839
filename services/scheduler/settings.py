"""What a scheduler is told."""

import platform

from pydantic import Field

from infra.runtime.settings import NatsSettings
from services.scheduler.core.failover import Admission
from services.scheduler.core.weights import Policy


class SchedulerSettings(NatsSettings):
    """Each is read from `ROOST_` and the name in capitals."""

    vcpus_per_core: float = Field(default=4.0, gt=0, le=64)
    """How many vCPUs may be promised on one core."""
    policy: Policy = Policy.BALANCED
    """Which of the hosts that can take a VM does: see the glossary."""
    host_failures_tolerated: int = Field(default=0, ge=0, le=8)
    """For how many hosts that fail at once room is kept on the others, for their highly available VMs."""
    failover_admission: Admission = Admission.REFUSE
    """What becomes of a start that would leave such VMs without that room."""
    host_reserve_mib: int = Field(default=512, ge=0)
    """Memory of each host that no VM gets: the system's and the daemons' own."""
    replica: str = Field(default_factory=lambda: platform.node() or "unnamed", min_length=1, max_length=255)
    """The name of the place where this scheduler runs, by default the machine's. Whatever is started there
    takes the place's lease over at once, so two on one machine need names of their own."""
