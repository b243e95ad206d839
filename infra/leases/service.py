"""The lease of a service: take it, renew it, release it, and watch it while another has it."""

from collections.abc import Callable
from uuid import UUID

from events.ids import BEGINNING, Seq
from infra.eventlog.port import Conflict, Write
from infra.leases.port import Leases
from infra.leases.term import Claim, Sight, Timing, is_free, read, see
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable

TRIES_MAX = 16
"""Tries without an answer that are remembered; an older one that is stored after all gives no term."""
RELEASE_TRIES_MAX = 3


class ServiceLease:
    """One lease as one process sees it: held or watched.

    It tells who is to be active, so that several do not do the same work. It makes nothing right: a holder
    that slept believes in its term until it looks at its clock, and by then another may have begun.
    """

    def __init__(
        self,
        leases: Leases,
        subject: str,
        *,
        holder: str,
        new_id: Callable[[], UUID],
        clock: Clock,
        timing: Timing | None = None,
    ) -> None:
        self._leases = leases
        self._subject = subject
        self._new_id = new_id
        self._clock = clock
        self.timing = timing or Timing()
        self._me = Claim(holder=holder, instance=new_id(), term_s=self.timing.term_s)
        self._sight: Sight | None = None
        self._newborn = True
        self._guard: Seq = BEGINNING
        self._until = float("-inf")
        self._tries: dict[UUID, float] = {}
        """Id of each try of ours under the present guard, to the end of the term that it would give."""

    @property
    def held(self) -> bool:
        """Whether it is ours, by our own clock."""
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """How long it is ours yet."""
        return max(0.0, self._until - self._clock.monotonic())

    @property
    def holder(self) -> str:
        """Who had it when it was last looked at, for people."""
        claim = self._sight.claim if self._sight is not None else None
        if claim is None:
            return "nobody" if self._guard == BEGINNING else "unknown"
        return "nobody" if claim.released else claim.holder

    async def take(self) -> bool:
        """Look, and take it if it is free; tell whether it is ours. Raises Unavailable."""
        sight = await self._look()
        if self.held:
            return True  # A try of ours was stored after all.
        newborn, self._newborn = self._newborn, False
        now = self._clock.monotonic()
        if is_free(sight, me=self._me, newborn=newborn, now=now, timing=self.timing):
            await self._say(self._me)
        return self.held

    async def renew(self) -> bool:
        """Prolong it while it is ours; tell whether it is. Raises Unavailable: it is for `left_s`, yet."""
        if self.held:
            await self._say(self._me)
        return self.held

    async def release(self) -> None:
        """Give it up, so that another has it at once; raises Unavailable: then its term runs out.

        Whoever gives it up does not come back to it: a try without an answer is made again here.
        """
        unheard: Unavailable | None = None
        for _ in range(RELEASE_TRIES_MAX):
            if not self.held:
                return
            try:
                await self._say(self._me.model_copy(update={"released": True}))
            except Unavailable as err:
                unheard = err
        if self.held and unheard is not None:
            raise unheard

    async def _say(self, claim: Claim) -> None:
        """Try once. The term counts from before it was sent, whenever its answer comes."""
        message_id = self._new_id()
        until = float("-inf") if claim.released else self._clock.monotonic() + claim.term_s
        while len(self._tries) >= TRIES_MAX:
            del self._tries[next(iter(self._tries))]
        self._tries[message_id] = until
        try:
            write = Write(self._subject, message_id, claim.model_dump_json().encode())
            seq = await self._leases.say(write, self._guard)
        except Conflict:
            await self._look()
        else:
            self._stored(seq, until)

    async def _look(self) -> Sight:
        """Read what is there, and learn from its id whether a try of ours was stored."""
        found = await self._leases.look(self._subject)
        seq = found.seq if found is not None else BEGINNING
        if found is not None and found.event_id in self._tries:
            self._stored(seq, self._tries[found.event_id])
        elif seq != self._guard:
            self._stored(seq, float("-inf"))  # Another's: no try of ours can be stored any more.
        claim = read(found.body) if found is not None else None
        self._sight = see(self._sight, seq, claim, self._clock.monotonic(), self.timing)
        return self._sight

    def _stored(self, seq: Seq, until: float) -> None:
        self._guard, self._until = seq, until
        self._tries.clear()
