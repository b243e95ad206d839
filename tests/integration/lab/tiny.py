"""The tiny guest as a libvirt domain, and waiting for what it does."""

import json
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
