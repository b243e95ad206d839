"""What is said in a lease of a service, and when it may be taken: values in, values out.

Only how fast a monotonic clock runs matters, never what any clock shows: the holder counts its term from
before it sent what was acknowledged, whoever watches counts it from when it first saw that, which is later.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.ids import Seq

DRIFT = 1.002
"""How much longer a watcher waits than the holder counts: two clocks that run wrong by 0.1 % each."""
TERM_MAX_S = 60.0
"""The longest term that a watcher believes: a message that says more is somebody's mistake."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A term is several renewals long, so that one lost answer ends nothing."""

    term_s: float = 2.0
    renew_s: float = 0.5
    again_s: float = 0.1
    """After a renewal without an answer."""
    look_s: float = 0.2
    slept_s: float = 1.0
    """Whoever has not looked for so long saw no silence, and begins to count anew."""


class Claim(BaseModel):
    """What the message says. The holder's own term counts: two releases may differ in theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    holder: str
    """The name of the place that holds it; it stays the same when the process there is started again."""
    instance: UUID
    """The one process."""
    term_s: float = Field(gt=0, le=TERM_MAX_S)
    released: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What a watcher has seen. *since* and *looked* are of its own monotonic clock."""

    seq: Seq
    """0: nobody has ever held it."""
    claim: Claim | None
    """None where it cannot be read: then somebody holds it, for the usual term."""
    since: float
    looked: float


def read(body: bytes) -> Claim | None:
    """Read a message; None where it is none of ours."""
    try:
        return Claim.model_validate_json(body)
    except ValidationError:
        return None


def see(before: Sight | None, seq: Seq, claim: Claim | None, now: float, timing: Timing) -> Sight:
    """Take in what is there *now*. The same again goes on counting, unless the watcher slept meanwhile."""
    if before is None or before.seq != seq or now - before.looked > timing.slept_s:
        return Sight(seq, claim, now, now)
    return replace(before, looked=now)


def is_free(sight: Sight, *, me: Claim, newborn: bool, now: float, timing: Timing) -> bool:
    """Tell whether *me* may take it.

    A *newborn* has just started and held nothing yet: what its own place holds is its dead predecessor's. If
    that one lives after all, it loses the lease to its successor, once.
    """
    claim = sight.claim
    if sight.seq == 0:
        return True
    if claim is None:
        return now - sight.since >= timing.term_s * DRIFT
    if claim.released or claim.instance == me.instance or (newborn and claim.holder == me.holder):
        return True
    return now - sight.since >= claim.term_s * DRIFT
