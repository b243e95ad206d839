"""Room: the door to the hypervisor: one port, libvirt and a simulation behind it.

Owns: domain XML, libvirt's connection, events and errors.
May import: events, infra.runtime, libvirt, lxml, services.hostd.core.
Must not: decide what should run, or let a libvirt type out.
"""
