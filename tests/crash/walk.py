"""Walk through the crash points of a service: die there, come back, and see that all is right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, zip_longest

from tests.crash.client import ASKED, Client
from tests.crash.subject import Subject

FLOWS = tuple(ASKED)
RECORDINGS = 2
"""Lives that are watched to learn the points; one alone may miss what depends on timing."""
TRIES = 2
"""How often a point is tried whose turn may not come in a given life."""
VERIFIED_EVERY = 4
"""Lives between two looks at the log and all that was made of it: a look takes longer with each life."""

Points = Mapping[str, Sequence[str]]
"""Flow to the labels of its points, in order."""
Deaths = Mapping[str, str]
"""Flow to the one point to die at in a life; empty: nowhere."""


@dataclass
class Tally:
    """What a walk came to."""

    service: str
    points: Points
    died: dict[str, list[str]] = field(default_factory=lambda: {flow: [] for flow in FLOWS})
    missed: dict[str, list[str]] = field(default_factory=lambda: {flow: [] for flow in FLOWS})


def lives(points: Points) -> list[Deaths]:
    """Lay out as many lives as are needed to die once at each of *points*: in one life, one of each flow."""
    rows = zip_longest(*(points.get(flow, ()) for flow in FLOWS), fillvalue="")
    return [dict(zip(FLOWS, labels, strict=True)) for labels in rows]


class Walk:
    """One service, in as many processes as it has, and one life of a VM after another."""

    def __init__(
        self, service: str, subjects: Sequence[Subject], client: Client, say: Callable[[str], None]
    ) -> None:
        self._service, self._subjects, self._client, self._say = service, subjects, client, say
        self._numbers = count(1)

    async def learn(self, recordings: int = RECORDINGS) -> Points:
        """Live some lives without a death; give the points of each flow.

        One more before them does not count: hosts are still making themselves known.
        """
        points: dict[str, dict[str, None]] = {flow: {} for flow in FLOWS}
        await self.live({})
        for _ in range(recordings):
            for flow, passed in (await self.live({})).items():
                points[flow] |= dict.fromkeys(passed)
        return {flow: tuple(labels) for flow, labels in points.items()}

    async def walk(self, points: Points) -> Tally:
        """Die once at each of *points*."""
        tally = Tally(self._service, points)
        left = points
        for _ in range(TRIES):
            tally.missed = {flow: [] for flow in FLOWS}
            for number, deaths in enumerate(lives(left), 1):
                died = await self.live(deaths)
                if number % VERIFIED_EVERY == 0:
                    await self._client.verified()
                for flow, label in deaths.items():
                    if label:
                        (tally.died if died[flow] else tally.missed)[flow].append(label)
            left = tally.missed
        await self._client.verified()
        return tally

    async def die(self, deaths: Deaths) -> Points:
        """Live one life, and see that all that was made of it is whole."""
        died = await self.live(deaths)
        await self._client.verified()
        return died

    async def live(self, deaths: Deaths) -> Points:
        """Take one VM through all flows; give what was passed in each, or where it died."""
        number, passed = next(self._numbers), dict[str, Sequence[str]]()
        vm = f"{self._service}-{number}"
        for flow in FLOWS:
            label = deaths.get(flow, "")
            await self._arm(label)
            vm = await self._client.do(flow, vm, f"{self._service}-{number}-{flow}")
            await self._client.settled(flow, vm)
            passed[flow] = self._died(label) if label else self._passed()
            await self._arm("")
            if label:
                self._say(f"{self._service} {flow} {'died' if passed[flow] else 'did not come to'} {label}")
        return passed

    async def _arm(self, label: str) -> None:
        for subject in self._subjects:
            await subject.arm(label)

    def _passed(self) -> Sequence[str]:
        return list(dict.fromkeys(label for subject in self._subjects for label in subject.passed()))

    def _died(self, label: str) -> Sequence[str]:
        return [label] if any(subject.died for subject in self._subjects) else []
