"""Of two reboots in a moment one is told, whatever other VMs do meanwhile."""

from uuid import UUID

from events.ids import VmId
from services.hostd.core.domain import Panicked, Rebooted
from services.hostd.hypervisor.happenings import ECHO_S, Echoes

ONE, OTHER = VmId(UUID(int=1)), VmId(UUID(int=2))


def test_a_reboot_is_told_once_though_another_vm_reboots_in_between() -> None:
    times = iter([0.0, 0.1, 0.2, 0.3, 1 + ECHO_S, 1.1 + ECHO_S])
    echoes = Echoes(lambda: next(times))
    told = [echoes.heard(vm_id, Rebooted()) for vm_id in (ONE, OTHER) * 3]
    assert told == [Rebooted(), Rebooted(), None, None, Rebooted(), Rebooted()]


def test_nothing_else_is_left_out() -> None:
    echoes = Echoes(lambda: 0.0)
    assert [echoes.heard(ONE, what) for what in (Panicked(), Panicked(), None)] == [
        Panicked(),
        Panicked(),
        None,
    ]
