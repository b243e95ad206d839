"""What may be wished of the place where a VM starts. Everything is frozen and compares by content."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from events.ids import HostId
from events.machine import HostLabel
from events.values import Name, Value

WISHED_LABELS_MAX, WISHED_HOSTS_MAX, GROUPS_MAX = 16, 64, 8


class Rule(StrEnum):
    """What VMs of one group are to each other."""

    APART = "apart"
    """No two of them on one host."""
    TOGETHER = "together"
    """All of them on one host."""


class GroupWish(Value):
    """A group that the VM is a member of, by naming it, and the rule that it wishes there."""

    name: Name
    rule: Rule
    hard: bool = True
    """False: rather so than not, but sooner anywhere than nowhere."""


class PlacementWishes(Value):
    """Where the VM may start, and where it would rather; of a VM that runs: what it was placed by."""

    require_labels: tuple[HostLabel, ...] = Field(default=(), max_length=WISHED_LABELS_MAX)
    """Only hosts that carry all of them; one without a value is carried with any."""
    forbid_labels: tuple[HostLabel, ...] = Field(default=(), max_length=WISHED_LABELS_MAX)
    """Only hosts that carry none of them."""
    hosts: tuple[HostId, ...] = Field(default=(), max_length=WISHED_HOSTS_MAX)
    """Only these; none named: any."""
    prefer_hosts: tuple[HostId, ...] = Field(default=(), max_length=WISHED_HOSTS_MAX)
    """Rather these than others."""
    groups: tuple[GroupWish, ...] = Field(default=(), max_length=GROUPS_MAX)

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        for wanted in self.require_labels:
            if any(carries([wanted], one) for one in self.forbid_labels):
                raise ValueError(f"label {wanted!r} is required and forbidden")
        names = [group.name for group in self.groups]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"group {name!r} is named twice; a VM wishes one rule of a group")
        return self


NOTHING_WISHED = PlacementWishes()


def carries(labels: Iterable[str], wanted: str) -> bool:
    """Tell whether *wanted* is among *labels*: with its value, or with any where it names none."""
    return any(label == wanted or label.partition("=")[0] == wanted for label in labels)
