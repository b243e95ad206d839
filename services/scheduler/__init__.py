"""Room: the scheduler: decides every command on a VM, and what follows from the hosts' facts.

Owns: evt.vm.*.ctl, evt.host.*.ctl, evt.host.*.desired, evt.claim.*.ctl, evt.group.*.ctl.
May import: events, infra ports; real adapters in main alone.
Must not: talk to a host, keep a truth of its own, or decide without a guard.
"""
