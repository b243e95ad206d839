"""What a scheduler is told."""

from pydantic import Field

from infra.runtime.settings import NatsSettings
from services.scheduler.core.weights import Policy


class SchedulerSettings(NatsSettings):
    """Each is read from `ROOST_` and the name in capitals."""

    vcpus_per_core: float = Field(default=4.0, gt=0, le=64)
    """How many vCPUs may be promised on one core."""
    policy: Policy = Policy.BALANCED
    """Which of the hosts that can take a VM does: see the glossary."""
    host_reserve_mib: int = Field(default=512, ge=0)
    """Memory of each host that no VM gets: the system's and the daemons' own."""
