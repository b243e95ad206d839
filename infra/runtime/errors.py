"""Errors that every adapter translates foreign exceptions into, once, at its door."""


class Unavailable(Exception):
    """Something we need is away for now: wait with back-off and try again; never a reason to crash."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


class ConfigInvalid(Exception):
    """A setting cannot be used; found before anything is connected to."""
