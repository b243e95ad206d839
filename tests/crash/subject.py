"""One service under test, as the harness sees it: where it shall die, and what it passed."""

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.dev.children import is_ready
from tests.crash.points import ARM
from tests.support.eventually import eventually

WITHIN_S = 30.0


@dataclass
class Subject:
    """Its *folder* is shared with it; see tests.crash.points."""

    name: str
    folder: Path
    health_port: int
    round: int = 0

    def prepare(self) -> None:
        """Lay out the folder before the service starts."""
        self.folder.mkdir(parents=True)
        self._plan("")
        (self.folder / "hits").touch()

    async def ready(self) -> None:
        """Wait until it serves."""

        async def serves() -> bool:
            ended = self.folder / "ended"
            assert not ended.exists(), f"{self.name} ended by itself: status {ended.read_text()}"
            return bool(self._read("pid")) and await is_ready(self.health_port)

        await eventually(serves, f"{self.name} is ready", WITHIN_S)

    async def arm(self, kill: str = "") -> None:
        """Have it count from zero and die at *kill*; empty: nowhere."""
        await self.ready()
        self.round += 1
        self._plan(kill)
        os.kill(int(self._read("pid")), ARM)
        await eventually(lambda: self._read("armed") == str(self.round), f"{self.name} has read its plan")

    def kill(self) -> None:
        """Kill it wherever it is; one that is being started again is left alone."""
        pid = self._read("pid")
        try:
            if pid:
                os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass  # It is dead already, and its successor has not said its name.

    @property
    def died(self) -> bool:
        """Whether it came to the point of this round."""
        return self._read("killed") == str(self.round)

    @property
    def held_up(self) -> str:
        """What held up its event loop, a line each."""
        return self._read("slow")

    def passed(self) -> list[str]:
        """List the points of this round, in order."""
        lines = (line.split("\t") for line in (self.folder / "hits").read_text().splitlines())
        return [label for number, label in lines if number == str(self.round)]

    def _plan(self, kill: str) -> None:
        draft = self.folder / "plan.draft"
        draft.write_text(json.dumps({"round": self.round, "kill": kill}))
        draft.replace(self.folder / "plan")

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return ""


def none_held_up(subjects: Iterable[Subject]) -> None:
    """Fail where a service's event loop was held up."""
    found = "".join(subject.held_up for subject in subjects)
    assert not found, f"an event loop was held up:\n{found}"
