"""Tests that are worth hours: `make soak`."""
