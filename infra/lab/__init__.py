"""Room: N real libvirt hosts in namespaces on one machine, and the tiny guest that runs on them.

Owns: the run folders in /run/roost-lab, every process of a lab, the images of the tiny guest.
May import: the standard library.
Must not: change the machine's own networks, mounts or libvirt; know anything of events or services.
"""
