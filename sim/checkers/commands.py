"""Whether every accepted command ends exactly once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from events.ids import CommandId, Seq
from sim.checkers.ledger import Ledger


@dataclass(frozen=True)
class Account:
    """What has become of the commands of a stream."""

    ended: int
    pending: int
    waiting: int
    """Not settled by the scheduler yet."""
    faults: list[str] = field(default_factory=list)


def account(asked: Mapping[CommandId, Seq], settled: Seq, ledger: Ledger, *, whole: bool) -> Account:
    """Compare what was *asked* (id to place in CMD) with its ends; what is *settled* was acknowledged.

    The scheduler acknowledges last: a settled command has ended, or its VM names it as pending. With *whole*
    no command was forgotten by its stream yet, and an end of one that nobody asked for is a fault.
    """
    pending = ledger.pending
    faults = [
        f"command {one} (CMD {seq}) was acknowledged, and neither has it ended nor is it pending"
        for one, seq in asked.items()
        if seq <= settled and not ledger.ends[one] and one not in pending
    ]
    if whole:
        faults += [
            f"command {one} ended, and nobody asked for it" for one in ledger.ends.keys() - asked.keys()
        ]
    return Account(
        ended=sum(1 for one in asked if ledger.ends[one]),
        pending=sum(1 for one in asked if one in pending),
        waiting=sum(
            1 for one, seq in asked.items() if seq > settled and not ledger.ends[one] and one not in pending
        ),
        faults=faults,
    )
