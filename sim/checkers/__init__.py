"""Room: what must hold, each as a checker that folds what it is shown and names every fault.

Owns: the invariants of docs/reliability.md.
May import: events, the cores of services, the port's values.
Must not: read or write anything; what it checks arrives as values.
"""
