"""Listen to the hosts' statistics, and keep what each told last."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import ValidationError

from events.ids import HostId, VmId
from events.statistics import HEARD_BYTES_MAX, MISSED_MAX, STATISTICS_S, HostStatistics, VmStatistics
from infra.runtime.clock import Clock

STALE_AFTER_S = MISSED_MAX * STATISTICS_S


@dataclass(frozen=True)
class Told:
    """All that one host told at one time, put together from its parts."""

    host: HostStatistics
    """Without VMs."""
    vms: Mapping[VmId, VmStatistics]
    heard_s: float
    """On this process's own clock."""
    before: "Told | None" = None
    """What it told the time before that, to compare with; nothing is kept from before that."""


@dataclass
class _Parts:
    """What has come of one telling."""

    came: dict[int, HostStatistics] = field(default_factory=dict)

    def add(self, part: HostStatistics) -> bool:
        """Take *part* in; True when it was the last. A new telling takes the place of one with holes."""
        if any((one.at, one.parts) != (part.at, part.parts) for one in self.came.values()):
            self.came.clear()
        self.came[part.part] = part
        return len(self.came) == part.parts


class Statistics:
    """What each host told last.

    Bounded by the hosts that NATS knows, whose permissions tie each message to the host that sends it, and by
    what one of them may tell.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[HostId, _Parts] = {}
        self._told: dict[HostId, Told] = {}

    def heard(self, subject: str, body: bytes) -> None:
        """Take in a message on `stat.<host>`; what cannot be read counts as not heard."""
        if len(body) > HEARD_BYTES_MAX:
            return
        try:
            host_id = HostId(UUID(subject.rpartition(".")[2]))
            part = HostStatistics.model_validate_json(body)
        except (ValueError, ValidationError):
            return
        if part.host_id != host_id or part.part > part.parts:
            return
        parts = self._parts.setdefault(host_id, _Parts())
        if parts.add(part):
            self._keep(host_id, parts.came)
            del self._parts[host_id]

    def of_host(self, host_id: HostId) -> Told | None:
        """Give what a host told last; None when that is too long ago, or was never."""
        told = self._told.get(host_id)
        return None if told is None or self.age_s(told) > STALE_AFTER_S else told

    def age_s(self, told: Told) -> float:
        """Give the seconds since *told* was heard."""
        return self._clock.monotonic() - told.heard_s

    def hosts(self) -> Iterator[Told]:
        """Give what each host told last, by id, but for those that have fallen silent."""
        for host_id in sorted(self._told):
            told = self.of_host(host_id)
            if told is not None:
                yield told

    def _keep(self, host_id: HostId, came: Mapping[int, HostStatistics]) -> None:
        before = self._told.get(host_id)
        self._told[host_id] = Told(
            host=came[1].model_copy(update={"vms": ()}),
            vms={vm.vm_id: vm for _, part in sorted(came.items()) for vm in part.vms},
            heard_s=self._clock.monotonic(),
            before=None if before is None else Told(before.host, before.vms, before.heard_s),
        )
