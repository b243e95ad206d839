"""The hypervisor as the daemon sees it. `libvirt_driver.py` is real, `simulated.py` pretends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from events.desired import DesiredVm
from events.effective import Effective, StartFailure
from events.ids import VmId
from events.machine import MachineFacts
from events.statistics import VmStatistics
from events.values import Versions
from services.hostd.core.domain import Domain, Happening


class HypervisorRefused(Exception):
    """The hypervisor said no for good; the message is its own."""


class StartRefused(HypervisorRefused):
    """A start cannot be: everything that is wrong with it, and the end of QEMU's log where QEMU ran."""

    def __init__(
        self, failures: Sequence[StartFailure], log_tail: str = "", disks: Sequence[str] = ()
    ) -> None:
        super().__init__("; ".join(failure.message for failure in failures))
        self.failures = tuple(failures)
        self.log_tail = log_tail
        self.disks = tuple(disks)
        """Its disks that are there nevertheless."""


class NoAnswer(Exception):
    """The hypervisor did not answer about one guest within the call's deadline; others are not affected."""


@dataclass(frozen=True)
class Image:
    """What an image of the storage holds; at least one of the three."""

    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    disk: Path | None = None
    """A qcow2 or raw file from which disks are made thin."""
    disk_format: str = "qcow2"
    cd: Path | None = None


@dataclass(frozen=True)
class Machine:
    """What the host is."""

    cores: int
    memory_mib: int
    versions: Versions
    boot_id: str
    facts: MachineFacts = field(default_factory=MachineFacts)


@dataclass(frozen=True)
class Started:
    """A domain runs: what it is made of."""

    effective: Effective
    disks: tuple[str, ...] = ()
    """The names of its disks, all of which are there now."""


Changed = Callable[[VmId | None, Happening | None], None]
"""Called on the event loop: this domain changed, perhaps by a happening, or (None) anything may have."""


class Hypervisor(Protocol):
    """Every call raises Unavailable while the hypervisor cannot be asked, and may be repeated.

    Those about one guest raise NoAnswer when the hypervisor has not answered in time.
    """

    async def connect(self, changed: Changed) -> None:
        """Connect, or connect again, and tell of changes from now on."""

    async def machine(self) -> Machine:
        """Describe the host."""

    async def domains(self) -> Sequence[Domain]:
        """List our domains; those of others are not shown."""

    async def domain(self, vm_id: VmId) -> Domain | None:
        """Show one of our domains; None where there is none of this id, or it is not ours."""

    async def prepare(self, desired: DesiredVm) -> None:
        """Check ahead what *start* would, and make nothing: a start right behind it need not check again.

        Raises StartRefused, as the start would.
        """

    async def start(self, desired: DesiredVm) -> Started:
        """Take every step of a start, up to QEMU; of this generation and running already: describe it.

        Raises StartRefused with all that is wrong before anything of it was made.
        """

    async def ask_shutdown(self, vm_id: VmId) -> None:
        """Ask the guest to shut down, through its agent if that answers, else by the power button."""

    async def ask_reboot(self, vm_id: VmId) -> None:
        """Ask the guest to reboot, through its agent if that answers, else by ACPI."""

    async def reset(self, vm_id: VmId) -> None:
        """Press the reset button; it does not run: nothing."""

    async def pause(self, vm_id: VmId) -> None:
        """Have its vCPUs stand still; they do already, or it does not run: nothing."""

    async def resume(self, vm_id: VmId) -> None:
        """Have it go on; it does already, or does not run: nothing."""

    async def update(self, desired: DesiredVm) -> None:
        """Bring vCPUs and memory of the running domain to what the spec says. Raises HypervisorRefused."""

    async def power_off(self, vm_id: VmId) -> None:
        """End QEMU; it does not run: nothing."""

    async def undefine(self, vm_id: VmId) -> None:
        """Remove the definition; there is none: nothing."""

    async def remove_disks(self, desired: DesiredVm) -> Sequence[Path]:
        """Remove the files of its disks, and name those that were there."""

    async def agent_answers(self, vm_id: VmId) -> bool:
        """Ping the guest's agent."""

    async def monitor_answers(self, vm_id: VmId) -> None:
        """Ask QEMU itself whether it answers; it does not run: nothing."""

    async def statistics(self) -> Sequence[VmStatistics]:
        """Give the figures of our guests that run; what does not answer in time is left out."""

    async def close(self) -> None:
        """Disconnect; what runs goes on running."""
