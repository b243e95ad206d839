"""Room: the projector: follows EVT and CMD and folds each event into the rows that people and services read.

Owns: the read models' rows and checkpoints; the DEAD letters of what a projection could not read.
May import: events, infra ports; real adapters in main alone.
Must not: write to EVT or CMD, or decide anything that is not in an event.
"""
