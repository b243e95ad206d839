"""The one error of this room."""


class LabFailed(Exception):
    """Say what the lab could not do, why, and what to try."""

    def __init__(self, *, what: str, why: str, hint: str) -> None:
        super().__init__(f"{what}: {why}. Try: {hint}")
        self.what = what
        self.why = why
        self.hint = hint
