"""Tests that are worth hours, each a module of its own: `python -m tests.soak.NAME`."""
