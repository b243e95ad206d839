"""The hypervisor as the daemon sees it. `libvirt_driver.py` is real, `simulated.py` pretends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from events.ids import VmId
from events.values import DesiredVm, Versions
from services.hostd.core.reconcile import Domain


class HypervisorRefused(Exception):
    """The hypervisor said no for good; the message is its own."""


@dataclass(frozen=True)
class Image:
    """What a VM boots."""

    kernel: Path
    initrd: Path
    cmdline: str


@dataclass(frozen=True)
class Machine:
    """What the host is."""

    cores: int
    memory_mib: int
    versions: Versions
    boot_id: str


Changed = Callable[[VmId | None], None]
"""Called on the event loop: this domain changed, or (None) anything may have."""


class Hypervisor(Protocol):
    """Every call raises Unavailable while the hypervisor cannot be asked, and may be repeated."""

    async def connect(self, changed: Changed) -> None:
        """Connect, or connect again, and tell of changes from now on."""

    async def machine(self) -> Machine:
        """Describe the host."""

    async def domains(self) -> Sequence[Domain]:
        """List our domains; those of others are not shown."""

    async def domain(self, vm_id: VmId) -> Domain | None:
        """Show one of our domains; None where there is none of this id, or it is not ours."""

    async def start(self, desired: DesiredVm, image: Image) -> None:
        """Define the domain anew and create it; it runs already: nothing. Raises HypervisorRefused."""

    async def ask_shutdown(self, vm_id: VmId) -> None:
        """Ask the guest to shut down, through its agent if that answers, else by the power button."""

    async def power_off(self, vm_id: VmId) -> None:
        """End QEMU; it does not run: nothing."""

    async def undefine(self, vm_id: VmId) -> None:
        """Remove the definition; there is none: nothing."""

    async def agent_answers(self, vm_id: VmId) -> bool:
        """Ping the guest's agent."""

    async def close(self) -> None:
        """Disconnect; what runs goes on running."""
