"""Room: what a host does next about one VM, as a function of what is desired and what is seen.

Owns: the rule.
May import: events.
Must not: do I/O, read a clock, or know libvirt.
"""
