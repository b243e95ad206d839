"""The tiny guest as a libvirt domain, and waiting for what it does."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.guest import AGENT_CHANNEL
from infra.lab.lab import Lab

GUEST_CACHE = Path(__file__).parents[3] / ".cache" / "guest"
GUEST_TIMEOUT_S = 40.0
POLL_S = 0.05
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>128</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{image}/vmlinuz</kernel>
    <initrd>{image}/initrd.img</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <serial type='file'><source path='{serial}'/></serial>
    <channel type='unix'><target type='virtio' name='{channel}'/></channel>
  </devices>
</domain>
"""


async def until(ask: Callable[[], Awaitable[bool]], *, what: str, timeout_s: float = GUEST_TIMEOUT_S) -> None:
    """Ask until the answer is yes; fail with *what* was awaited if it is not within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not await ask():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        await asyncio.sleep(POLL_S)


async def start_tiny(lab: Lab, host: str, *, name: str, image: Path) -> Path:
    """Define and start the tiny guest on a host; return the file that gets its serial console."""
    folder = lab.host(host).dir
    serial, domain = folder / f"{name}.log", folder / f"{name}.xml"
    cmdline = json.loads((image / "image.json").read_text())["cmdline"]
    text = DOMAIN.format(name=name, image=image, cmdline=cmdline, serial=serial, channel=AGENT_CHANNEL)
    domain.write_text(text)
    await lab.virsh(host, "define", str(domain))
    await lab.virsh(host, "start", name)
    return serial


async def ask_agent(lab: Lab, host: str, *, name: str) -> bool:
    """Say whether the guest's agent answers a ping."""
    try:
        answer = await lab.virsh(host, "qemu-agent-command", name, '{"execute": "guest-ping"}')
    except LabFailed:
        return False
    return bool(json.loads(answer) == {"return": {}})


async def is_off(lab: Lab, host: str, *, name: str) -> bool:
    """Say whether libvirt has seen the guest's end."""
    return (await lab.virsh(host, "domstate", name)).strip() == "shut off"
