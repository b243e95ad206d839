"""What hosts told last is shown for as long as it is fresh, and to nobody who asks about somebody else."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from events import subjects
from events.codes import Code
from events.ids import Generation, HostId, VmId
from events.statistics import (
    CpuShares,
    DiskStatistics,
    HostMemory,
    HostStatistics,
    NicStatistics,
    VmMemory,
    VmStatistics,
    messages,
)
from events.values import VmPhase
from services.api.core.ids import show_host, show_vm
from services.api.core.metrics import FAMILIES
from services.api.routes import metrics
from tests.unit.api.conftest import Api
from tests.unit.api.rows import HOST, NOON, OTHER_VM, VM, a_host, a_vm

OTHER_HOST = HostId(UUID(int=7))
MEMORY = HostMemory(
    total_kib=1000, free_kib=100, available_kib=500, cached_kib=10, swap_total_kib=20, swap_free_kib=20
)


def vm(vm_id: VmId = VM, cpu_seconds: float = 10.0, generation: int = 1) -> VmStatistics:
    return VmStatistics(
        vm_id=vm_id,
        generation=Generation(generation),
        vcpus=2,
        cpu_seconds=cpu_seconds,
        memory=VmMemory(current_kib=512),
        disks=(DiskStatistics(target="vda", read_bytes=4096),),
        nics=(NicStatistics(device="vnet0", sent_bytes=150),),
    )


def told(*vms: VmStatistics, host: HostId = HOST, at_s: float = 0) -> HostStatistics:
    return HostStatistics(
        host_id=host,
        at=NOON + timedelta(seconds=at_s),
        interval_s=10,
        cpu=CpuShares(user=0.5, system=0.25, idle=0.25, iowait=0, steal=0),
        memory=MEMORY,
        load=(1, 2, 3),
        vms=vms,
    )


def tell(api: Api, what: HostStatistics, host: HostId | None = None, most: int = 10**6) -> None:
    for body in messages(what, most):
        api.statistics.heard(subjects.statistics(host or what.host_id), body)


async def refused(api: Api, path: str) -> tuple[int, str]:
    answer = await api.get(path)
    return answer.status_code, answer.json()["code"]


NOTHING = (404, Code.NO_STATISTICS)
OF_VM, OF_HOST = f"/vms/{show_vm(VM)}/statistics", f"/hosts/{show_host(HOST)}/statistics"


async def test_a_running_vm_shows_what_its_host_told_last_and_how_old_that_is(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    tell(api, told(vm()))
    api.clock.passed_s = 2.5
    body = (await api.get(OF_VM)).json()
    assert (body["vm"], body["host"], body["age_s"]) == (show_vm(VM), show_host(HOST), 2.5)
    assert (body["cpu_seconds"], body["vcpus"], body["cpu_used"]) == (10.0, 2, None)
    assert (body["memory"]["current_kib"], body["memory"]["rss_kib"]) == (512, None)
    assert (body["disks"][0]["target"], body["nics"][0]["sent_bytes"]) == ("vda", 150)


async def test_two_tellings_say_how_busy_a_vm_is(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    tell(api, told(vm(cpu_seconds=10)))
    tell(api, told(vm(cpu_seconds=25), at_s=10))
    assert (await api.get(OF_VM)).json()["cpu_used"] == 1.5
    tell(api, told(vm(cpu_seconds=1), at_s=20))
    assert (await api.get(OF_VM)).json()["cpu_used"] is None, "its counter began anew"


async def test_a_host_shows_itself_and_what_runs_on_it(api: Api) -> None:
    tell(api, told(vm(OTHER_VM), vm(VM)))
    body = (await api.get(OF_HOST)).json()
    assert body["cpu"] == {"user": 0.5, "system": 0.25, "idle": 0.25, "iowait": 0, "steal": 0}
    assert (body["load"], body["memory"]["available_kib"]) == ([1, 2, 3], 500)
    assert body["vms"] == [show_vm(VM), show_vm(OTHER_VM)]


async def test_after_three_intervals_of_silence_nothing_is_shown(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    assert await refused(api, OF_VM) == await refused(api, OF_HOST) == NOTHING
    tell(api, told(vm()))
    api.clock.passed_s = 30
    assert (await api.get(OF_VM)).status_code == 200
    api.clock.passed_s = 30.1
    assert await refused(api, OF_VM) == await refused(api, OF_HOST) == NOTHING


async def test_a_vm_that_does_not_run_has_none(api: Api) -> None:
    tell(api, told(vm()))
    assert await refused(api, OF_VM) == NOTHING


async def test_only_the_host_where_a_vm_is_placed_is_believed_and_in_this_generation_alone(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    tell(api, told(vm(), host=OTHER_HOST))
    assert await refused(api, OF_VM) == NOTHING
    tell(api, told(vm(generation=2)))
    assert await refused(api, OF_VM) == NOTHING


async def test_who_is_not_there_is_said_by_its_own_code(api: Api) -> None:
    assert await refused(api, f"/vms/{show_vm(OTHER_VM)}/statistics") == (404, Code.NO_SUCH_VM)
    assert await refused(api, f"/hosts/{show_host(OTHER_HOST)}/statistics") == (404, Code.NO_SUCH_HOST)


async def test_parts_are_shown_only_together(api: Api) -> None:
    both = told(vm(VM), vm(OTHER_VM))
    first, second = messages(both, 500)
    subject = subjects.statistics(HOST)
    api.statistics.heard(subject, first)
    assert await refused(api, OF_HOST) == NOTHING
    api.statistics.heard(subject, second)
    assert len((await api.get(OF_HOST)).json()["vms"]) == 2


async def test_a_part_that_was_lost_spoils_its_own_telling_alone(api: Api) -> None:
    subject = subjects.statistics(HOST)
    first, _ = messages(told(vm(VM), vm(OTHER_VM)), 500)
    api.statistics.heard(subject, first)
    _, late = messages(told(vm(VM), vm(OTHER_VM), at_s=10), 500)
    api.statistics.heard(subject, late)
    assert await refused(api, OF_HOST) == NOTHING
    tell(api, told(vm(VM), at_s=20))
    assert (await api.get(OF_HOST)).json()["vms"] == [show_vm(VM)]


def nonsense() -> Sequence[tuple[str, bytes]]:
    good = next(messages(told(vm())))
    return [
        (subjects.statistics(HOST), b"{}"),
        (subjects.statistics(HOST), b"\xff"),
        (subjects.statistics(HOST), good + b" " * 600_000),
        (subjects.statistics(HOST), good.replace(b'"load"', b'"part":2,"load"')),
        (subjects.statistics(OTHER_HOST), good),
        ("stat.nobody", good),
    ]


@pytest.mark.parametrize(("subject", "body"), nonsense())
async def test_what_cannot_be_read_or_speaks_for_another_is_not_heard(
    api: Api, subject: str, body: bytes
) -> None:
    api.statistics.heard(subject, body)
    assert list(api.statistics.hosts()) == []


async def scraped(api: Api) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = await api.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name: [(one.labels, one.value) for one in family.samples]
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_metrics_are_what_was_told_and_what_is_known(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    api.pulse.heard(f"hb.{HOST}", b"")
    tell(api, told(vm()))
    api.clock.passed_s = 3
    found = await scraped(api)
    host, name = {"host": show_host(HOST)}, {"host": show_host(HOST), "vm": show_vm(VM)}
    assert found["roost_host_up"] == [(host, 1)]
    assert found["roost_host_info"] == [(host | {"name": "host-1"}, 1)]
    assert found["roost_host_allocated_memory_bytes"] == [(host, 512 * 1024**2)]
    assert found["roost_host_statistics_age_seconds"] == [(host, 3)]
    assert found["roost_host_memory_available_bytes"] == [(host, 500 * 1024)]
    assert (host | {"mode": "user"}, 0.5) in found["roost_host_cpu_share"]
    assert found["roost_vm_info"] == [({"vm": show_vm(VM), "name": "web-01"}, 1)]
    assert found["roost_vm_cpu_seconds_total"] == [(name, 10)]
    assert found["roost_vm_disk_read_bytes_total"] == [(name | {"disk": "vda"}, 4096)]
    assert found["roost_vm_network_sent_bytes_total"] == [(name | {"nic": "vnet0"}, 150)]
    assert ({"phase": "running"}, 1) in found["roost_vms"]
    assert "roost_vm_memory_rss_bytes" not in found, "nobody told it"
    assert found["roost_api_process_cpu_seconds_total"][0][1] > 0


async def test_metrics_of_hosts_need_no_postgresql_and_a_silent_host_has_none(api: Api) -> None:
    tell(api, told(vm()))
    api.tables.away = True
    found = await scraped(api)
    assert "roost_vm_cpu_seconds_total" in found
    assert "roost_vm_info" not in found
    api.clock.passed_s = 31
    assert "roost_vm_cpu_seconds_total" not in await scraped(api)


async def test_two_disks_of_one_name_spoil_nothing(api: Api) -> None:
    twice = vm().model_copy(update={"disks": vm().disks * 2, "nics": vm().nics * 2})
    tell(api, told(twice))
    assert len((await scraped(api))["roost_vm_disk_reads_total"]) == 1


async def test_many_vms_and_hosts_come_page_by_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PAGE_MAX", 2)
    for number in range(4):
        api.know(
            a_vm(VmId(UUID(int=number)), f"vm-{number}"), a_host(HostId(UUID(int=number)), f"h-{number}")
        )
    found = await scraped(api)
    assert len(found["roost_vm_info"]) == 4 + 1
    assert len(found["roost_host_info"]) == 4 + 1


async def test_metrics_are_for_those_who_may_see_them(api: Api) -> None:
    answer = await api.http.get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


def test_each_metric_has_one_name_that_says_its_kind() -> None:
    found = [metric for family in FAMILIES for metric in family.metrics]
    assert len({metric.name for metric in found}) == len(found)
    assert [one.name for one in found if (one.kind == "counter") is not one.name.endswith("_total")] == []
