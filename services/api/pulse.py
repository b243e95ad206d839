"""Listen to the hosts' heartbeats."""

from uuid import UUID

from events.ids import HostId
from infra.runtime.clock import Clock


class Pulse:
    """When each host was heard last, on this process's own clock.

    Bounded by the hosts that NATS knows: its permissions tie each heartbeat to the host that sends it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._heard: dict[HostId, float] = {}

    def heard(self, subject: str, _body: bytes) -> None:
        """Take note of a heartbeat on `hb.<host>`."""
        try:
            host_id = HostId(UUID(subject.rpartition(".")[2]))
        except ValueError:
            return  # Not a host of ours; whoever it is, no host looks alive because of it.
        self._heard[host_id] = self._clock.monotonic()

    @property
    def listened_s(self) -> float:
        """The seconds since this process began to listen."""
        return self._clock.monotonic() - self._began

    def age_s(self, host_id: HostId) -> float | None:
        """Give the seconds since the last heartbeat; None when none was heard."""
        at = self._heard.get(host_id)
        return None if at is None else self._clock.monotonic() - at
