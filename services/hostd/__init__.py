"""Room: the host daemon: makes its host what the control plane desires, and reports what it sees.

Owns: evt.vm.*.<host>, evt.host.<host>.<host>, its own journal, the domains that carry its metadata.
May import: events, infra ports; libvirt in hypervisor alone; real adapters in main alone.
Must not: read another host's subjects, choose a host, or touch a domain that is not roost's.
"""
