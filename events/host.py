"""The host as the control plane knows it."""

from events.ids import HostId
from events.values import Resources, Value


class Host(Value):
    """The small whole state that every event on a host's ctl subject carries."""

    host_id: HostId
    name: str
    capacity: Resources
    """What may be reserved here: over-commit and the host's own reserve are already counted."""
    allocated: Resources = Resources(vcpus=0, memory_mib=0)
    """The sum of what the VMs placed here reserve."""
    vms: int = 0

    @property
    def free(self) -> Resources:
        """What is left to reserve; never below zero, though a capacity that shrank may leave a host full."""
        return Resources(
            vcpus=max(0, self.capacity.vcpus - self.allocated.vcpus),
            memory_mib=max(0, self.capacity.memory_mib - self.allocated.memory_mib),
        )
