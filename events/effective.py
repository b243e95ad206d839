"""How a start went: the steps of its flow, what was wrong, and what the domain is made of in the end."""

from enum import StrEnum

from pydantic import Field

from events.values import Label, Said, Value

FAILURES_MAX = 20
DEVICES_MAX = 64


class Step(StrEnum):
    """The steps of a start, in their order."""

    EXISTS = "exists"
    SAVED_STATE = "saved_state"
    VALIDATE = "validate"
    FILL_IN = "fill_in"
    GRAPHICS = "graphics"
    DEVICES = "devices"
    START = "start"


class FailureCode(StrEnum):
    """What can be wrong with a start on this host."""

    VM_EXISTS = "vm_exists"
    SAVED_STATE = "saved_state"
    MEMORY = "memory"
    VCPUS = "vcpus"
    IMAGE = "image"
    BOOT_SOURCE = "boot_source"
    DISK = "disk"
    DISK_MISSING = "disk_missing"
    STORAGE = "storage"
    NETWORK = "network"
    CPU_MODEL = "cpu_model"
    MACHINE = "machine"
    GRAPHICS = "graphics"
    HYPERVISOR = "hypervisor"


class StartFailure(Value):
    """One thing that is wrong: at which step, and what a person needs to mend it."""

    step: Step
    code: FailureCode
    message: Said


class EffectiveDisk(Value):
    """One disk as the hypervisor has it."""

    name: Label
    target: Label
    path: Said
    format: Label
    read_only: bool = False


class EffectiveNic(Value):
    """One network card as the hypervisor has it."""

    network: Label
    mac: Label
    model: Label


class Effective(Value):
    """What a domain is made of, read back from the hypervisor once it runs: asked for or filled in."""

    machine: Label
    cpu: Label
    clock: Label
    vcpus: int
    vcpus_max: int
    memory_mib: int
    boot: Said
    controllers: tuple[Label, ...] = Field(default=(), max_length=DEVICES_MAX)
    video: Label
    graphics: Said
    rng: Label
    balloon: Label
    agent_channel: Said
    serial_log: Said
    disks: tuple[EffectiveDisk, ...] = Field(default=(), max_length=DEVICES_MAX)
    nics: tuple[EffectiveNic, ...] = Field(default=(), max_length=DEVICES_MAX)
