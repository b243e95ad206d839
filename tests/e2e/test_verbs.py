"""Every verb in every phase, as the one table has it; what came of it is the hypervisor's own word."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from events.values import VmPhase
from events.vm import VERB_TABLE, Verb, Verdict
from tests.e2e.phases import Stage
from tests.e2e.world import world

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.drives_processes,
]
UP = ("booting", "running")
STOPPED = VmPhase.STOPPED
LEADS_TO: dict[Verb, tuple[str, ...]] = {
    "start": UP,
    "stop": ("stopped",),
    "power_off": ("stopped",),
    "reboot": UP,
    "pause": ("paused",),
    "resume": UP,
    "delete": ("deleted",),
}
"""Where a verb leads that is carried out; the others leave the VM where it is."""
SEEN = {"booting": "running", "running": "running", "paused": "paused", "stopped": "none", "deleted": "none"}
BY_PHASE: dict[VmPhase, dict[Verb, Verdict]] = {
    phase: {verb: row[phase] for verb, row in VERB_TABLE.items()} for phase in VERB_TABLE["start"]
}
CHANGES = [
    (phase, verb)
    for phase, verdicts in BY_PHASE.items()
    for verb, verdict in verdicts.items()
    if verdict in {Verdict.DO, Verdict.JOIN}
]


@pytest_asyncio.fixture(params=["sim", "libvirt"], loop_scope="module", scope="module")
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with world(request.param, hosts=1) as stack:
        headers = {"Authorization": f"Bearer {stack.token}"}
        url = f"{stack.url}/api/v1"
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=90) as http:
            yield Stage(stack, http)


@pytest.mark.parametrize("phase", BY_PHASE)
async def test_what_is_refused_or_so_already_changes_nothing(stage: Stage, phase: VmPhase) -> None:
    async with stage.held(phase) as vm:
        before = await stage.seen(vm)
        for verb, verdict in BY_PHASE[phase].items():
            if verdict in {Verdict.DO, Verdict.JOIN}:
                continue
            ended = await stage.ask(verb, vm)
            if verdict is Verdict.ALREADY:
                assert (ended["state"], ended["error"]) == ("succeeded", None), ended
                assert ended["note"], ended
            else:
                assert ended["error"]["code"] == "wrong_phase", ended
        assert (await stage.phase(vm), await stage.seen(vm)) == (phase, before)


@pytest.mark.parametrize(("phase", "verb"), CHANGES)
async def test_what_is_allowed_comes_true(stage: Stage, phase: VmPhase, verb: Verb) -> None:
    async with stage.held(phase) as vm:
        asked = await stage.ask(verb, vm, wait=False)
        if verb == "stop" and phase in {VmPhase.BOOTING, VmPhase.PAUSED, VmPhase.STOPPING}:
            await stage.ask("power_off", vm, wait=False)  # that guest does not go by itself
        await stage.thaw()
        ended = await stage.end(asked)
        assert ended["state"] == "succeeded", ended
        if (phase, verb) == (VmPhase.STOPPING, "update"):
            return  # it goes on stopping
        leads_to = LEADS_TO.get(verb, UP if phase in {*UP, VmPhase.STARTING} else (phase,))
        await stage.until(vm, *leads_to)
        assert await stage.seen(vm) == SEEN[leads_to[0]]
