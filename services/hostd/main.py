"""Put a host daemon together and run it: `python -m services.hostd.main [--simulate N]`."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from events import subjects
from events.ids import HostId, simulated_host_id
from events.machine import MachineFacts
from infra.eventlog.connection import closer, connect
from infra.eventlog.consumer import JetStreamConsumer
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.signals import NatsSignals
from infra.runtime.backoff import persist
from infra.runtime.clock import SystemClock
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.service import Service, run_service
from infra.runtime.settings import load
from infra.runtime.workers import Workers
from services.hostd.handler import HYPERVISOR, Daemon
from services.hostd.hypervisor.blueprint import Platform
from services.hostd.hypervisor.libvirt_driver import LibvirtHypervisor
from services.hostd.hypervisor.port import Hypervisor
from services.hostd.hypervisor.simulated import SimulatedHypervisor
from services.hostd.images import find_image
from services.hostd.journal import Journal, JournalUnusable
from services.hostd.kernel_files import kernel_facts
from services.hostd.remember import JOURNAL
from services.hostd.reporter import LOG
from services.hostd.settings import HostdSettings, SimulatedSettings

NAME = "hostd"
CREATES_AT_ONCE = 4
AT_WORK = 16
"""VMs that are seen to at once: one for which the hypervisor has no answer holds up none but itself."""
OPEN_TIMEOUT_S = 600.0
"""Looking through the journal takes 0.4 s for 100,000 facts that wait."""


async def _run_host(
    service: Service,
    stack: AsyncExitStack,
    *,
    host_id: HostId,
    name: str,
    nats_url: str,
    seed_file: Path,
    state: Path,
    hypervisor: Hypervisor,
    creates_at_once: int,
    storages: Mapping[str, Path],
    kernel: Callable[[], MachineFacts],
) -> None:
    """Connect one host's shell and start its tasks."""
    health = service.health
    # First of all: without it nothing may be done, and nobody need be connected to for saying so.
    opening = partial(Workers(JOURNAL, 1).run, OPEN_TIMEOUT_S, Journal, state / "journal.sqlite")
    journal = await persist(health, JOURNAL, opening)
    stack.callback(journal.close)
    client = await persist(health, LOG, lambda: connect(nats_url, seed_file, f"host-{host_id}", service.fail))
    stack.push_async_callback(closer(client))
    stack.push_async_callback(hypervisor.close)
    daemon = Daemon(
        host_id=host_id,
        name=name,
        desired=JetStreamConsumer(client, "EVT", subjects.desired_consumer(host_id)),
        facts=JetStreamFactLog(client),
        signals=NatsSignals(client),
        hypervisor=hypervisor,
        journal=journal,
        creates_at_once=creates_at_once,
        storages=storages,
        kernel=kernel,
        clock=SystemClock(),
        new_id=random_id,
        health=health,
    )
    service.spawn(f"{name}-beat", daemon.beat())
    await daemon.start()
    service.spawn(f"{name}-listen", daemon.listen())
    service.spawn(f"{name}-watch", daemon.watch())
    service.spawn(f"{name}-publish", daemon.publish())
    service.spawn(f"{name}-statistics", daemon.tell())
    service.spawn(f"{name}-machine", daemon.watch_machine())
    for number in range(AT_WORK):
        service.spawn(f"{name}-work-{number}", daemon.work())


def main() -> None:
    """Read settings, connect, serve until told to stop. Guests go on running."""
    parser = argparse.ArgumentParser(prog="python -m services.hostd.main", description=main.__doc__)
    parser.add_argument("--simulate", type=int, metavar="N", help="run N simulated hosts in this process")
    count = parser.parse_args().simulate
    health = Health(LOG, HYPERVISOR, JOURNAL)
    try:
        if count is None:
            _main_libvirt(health)
        else:
            _main_simulated(health, count)
    except JournalUnusable as err:
        sys.stderr.write(f"error: {err}\n")
        raise SystemExit(os.EX_DATAERR) from err


def _main_libvirt(health: Health) -> None:
    settings = load(HostdSettings)
    configure_logging(NAME, settings.log_level)

    async def build(service: Service, stack: AsyncExitStack) -> None:
        platform = Platform(
            domain_type=settings.domain_type,
            machine=settings.machine,
            console_folder=settings.console_dir,
            qemu_log_folder=settings.qemu_log_dir,
            storages=settings.storages,
        )
        await _run_host(
            service,
            stack,
            host_id=HostId(settings.host_id),
            name=settings.host_name,
            nats_url=settings.nats_url,
            seed_file=settings.nats_seed_file,
            state=settings.state_dir,
            hypervisor=LibvirtHypervisor(
                settings.libvirt_uri,
                platform,
                partial(find_image, settings.image_dir),
                starts_at_once=settings.creates_at_once,
            ),
            creates_at_once=settings.creates_at_once,
            storages=settings.storages,
            kernel=lambda: kernel_facts().model_copy(update={"labels": settings.labels}),
        )

    run_service(NAME, build, health, settings.health_port)


def _main_simulated(health: Health, count: int) -> None:
    settings = load(SimulatedSettings)
    configure_logging(NAME, settings.log_level)

    async def build(service: Service, stack: AsyncExitStack) -> None:
        for number in range(1, count + 1):
            host_id = simulated_host_id(number)
            state = settings.state_dir / f"sim-{number}"
            await _run_host(
                service,
                stack,
                host_id=host_id,
                name=f"sim-{number}",
                nats_url=settings.nats_url,
                seed_file=settings.nats_seed_file.parent / f"host-{host_id}.nk",
                state=state,
                hypervisor=SimulatedHypervisor(state / "guests", SystemClock()),
                creates_at_once=CREATES_AT_ONCE,
                storages={},
                kernel=partial(MachineFacts, labels=settings.labels),
            )

    run_service(NAME, build, health, settings.health_port)


if __name__ == "__main__":
    main()
