"""The bodies that enter about a VM, strict in depth: what is unknown or mistyped is said, never guessed."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from events.codes import Code
from events.commands import GRACE_S_DEFAULT
from events.machine import HostLabel
from events.spec import (
    DISKS_MAX,
    NICS_MAX,
    BootDevice,
    Disk,
    DiskFormat,
    ErrorPolicy,
    Graphics,
    Nic,
    Printable,
    VmSpec,
    merged,
)
from events.values import GRACE_S_MAX, Name
from events.views import VmView
from events.wishes import (
    GROUPS_MAX,
    NOTHING_WISHED,
    WISHED_HOSTS_MAX,
    WISHED_LABELS_MAX,
    GroupWish,
    PlacementWishes,
    Rule,
)
from services.api.core.faults import faults, summary
from services.api.core.ids import HostIdIn
from services.api.core.problems import Problem

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)
_AS_JSON = Strict(strict=False)
"""JSON has neither tuples nor enums: its arrays and strings are taken for them."""


class DiskBody(Disk):
    """One disk: made at the first start, empty or from an image."""

    model_config = _STRICT
    format: Annotated[DiskFormat, _AS_JSON] = DiskFormat.QCOW2


class NicBody(Nic):
    """One network card on a bridge of the host."""

    model_config = _STRICT


class GroupBody(GroupWish):
    """A group of VMs, and the rule that this one wishes there; more about it: docs/howto/placement.md."""

    model_config = _STRICT
    rule: Annotated[Rule, _AS_JSON]


_Labels = Annotated[tuple[HostLabel, ...], _AS_JSON, Field(max_length=WISHED_LABELS_MAX)]
_Hosts = Annotated[tuple[HostIdIn, ...], _AS_JSON, Field(max_length=WISHED_HOSTS_MAX)]
_Groups = Annotated[tuple[GroupBody, ...], _AS_JSON, Field(max_length=GROUPS_MAX)]


class WishesBody(PlacementWishes):
    """Where the VM may start (labels, hosts, hard groups), and where it would rather (the others)."""

    model_config = _STRICT
    require_labels: _Labels = ()
    forbid_labels: _Labels = ()
    hosts: _Hosts = ()
    prefer_hosts: _Hosts = ()
    groups: _Groups = ()


_Disks = Annotated[tuple[DiskBody, ...], _AS_JSON]
_Nics = Annotated[tuple[NicBody, ...], _AS_JSON]
_Graphics = Annotated[Graphics, _AS_JSON]
_ErrorPolicy = Annotated[ErrorPolicy, _AS_JSON]


class CreateVmBody(VmSpec):
    """What VM is wanted. It is created stopped; start it with its `start` action."""

    model_config = _STRICT
    disks: _Disks = Field(default=(), max_length=DISKS_MAX)
    nics: _Nics = Field(default=(), max_length=NICS_MAX)
    graphics: _Graphics = Graphics.NONE
    on_io_error: _ErrorPolicy = ErrorPolicy.AUTO_RESUME
    placement: WishesBody = WishesBody()


class _In(BaseModel):
    model_config = _STRICT


class UpdateWishesBody(_In):
    """What shall be wished otherwise from the next start on; what is not named stays."""

    require_labels: _Labels | None = None
    forbid_labels: _Labels | None = None
    hosts: _Hosts | None = None
    prefer_hosts: _Hosts | None = None
    groups: _Groups | None = None


class UpdateVmBody(_In):
    """What shall be other than it is (RFC 7396): null is the default; lists are replaced as a whole."""

    name: Name | None = Field(default=None, description="Only the VM's own: a VM keeps its name.")
    vcpus: int | None = None
    memory_mib: int | None = None
    image: str | None = None
    vcpus_max: int | None = None
    machine: str | None = None
    cpu_model: str | None = None
    disks: _Disks | None = None
    nics: _Nics | None = None
    graphics: _Graphics | None = None
    persistent: bool | None = None
    on_io_error: _ErrorPolicy | None = None
    agent_wait_s: float | None = None
    priority: int | None = None
    highly_available: bool | None = None
    placement: UpdateWishesBody | None = None


class OnceBody(_In):
    """What holds for this run alone; nothing of it is kept."""

    host: str | None = Field(default=None, description="The id or the name of the only host to choose.")
    boot: Annotated[tuple[Annotated[BootDevice, _AS_JSON], ...], _AS_JSON] = Field(
        default=(), max_length=3, description="What to boot from, in this order; the image's kernel is left."
    )
    cd: Name | None = Field(default=None, description="The image whose CD is put in.")
    kernel: Name | None = Field(default=None, description="The image whose kernel is booted.")
    cmdline: Printable | None = Field(default=None, description="The kernel's command line.")


class StartVmBody(_In):
    """How to start."""

    paused: bool = Field(default=False, description="Stand still before the first instruction.")
    once: OnceBody = OnceBody()


class StopVmBody(_In):
    """How to stop."""

    grace_s: float = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)
    """Seconds that the guest may take to shut down before it is powered off; 0: power off at once."""


class RebootVmBody(_In):
    """How to reboot."""

    grace_s: float = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)
    """Seconds that the guest may take to reboot before it is reset; 0: reset at once."""


_DEFAULTS = VmSpec(name="any", vcpus=1, memory_mib=512, image="any").model_dump(
    mode="json", exclude={"name", "vcpus", "memory_mib", "image"}
) | {"highly_available": False, "placement": NOTHING_WISHED.model_dump(mode="json")}


def patch_of(body: UpdateVmBody) -> dict[str, Any]:
    """Give the fields that were sent, with the default where that was asked for."""
    sent = body.model_dump(mode="json", exclude_unset=True)
    if sent.get("placement"):
        sent["placement"] = _without_nulls(sent["placement"], _DEFAULTS["placement"])
    return _without_nulls(sent, _DEFAULTS)


def _without_nulls(sent: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: defaults.get(name) if value is None else value for name, value in sent.items()}


def check_patch(vm: VmView, patch: dict[str, Any]) -> None:
    """Make sure that *patch* leaves a valid VM; raises Problem cannot_rename, invalid_spec."""
    wanted = patch.get("name", vm.name)
    if wanted != vm.name:
        raise Problem(Code.CANNOT_RENAME, {"name": vm.name, "wanted": wanted})
    try:
        merged(vm.spec, patch)
    except ValidationError as err:
        found = faults({**one, "loc": ("body", *one["loc"])} for one in err.errors(include_url=False))
        whole = len(found) == 1 and not found[0].pointer
        reason = found[0].message if whole else summary(found)
        raise Problem(Code.INVALID_SPEC, {"reason": reason}, errors=found) from err
