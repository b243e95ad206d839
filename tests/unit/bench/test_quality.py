"""The figures of the quality benchmark, on traces whose numbers fit in a head."""

import gzip
from pathlib import Path

import pytest

from events.values import Resources
from tests.bench import quality, traces
from tests.bench.traces import TracedVm, replay

HOST = Resources(vcpus=4, memory_mib=4096)
THREE = Resources(vcpus=3, memory_mib=1024)
ONE = Resources(vcpus=1, memory_mib=1024)
VMS = [
    TracedVm(0, 100, THREE),
    TracedVm(0, 100, THREE),
    TracedVm(50, 200, ONE),
    TracedVm(100, 200, THREE),
]
"""Vcpus asked for: 6, then 7, then 4. Two hosts are needed until 100, then one: the last joins the third."""


def test_hosts_in_use_are_compared_with_the_least_that_any_packing_needs() -> None:
    found = replay(VMS, HOST, hosts=None)
    assert (found.peak, found.bound_peak, found.ratio, found.rejected) == (2, 2, 1.0, 0)


def test_what_does_not_fit_on_a_fixed_fleet_is_rejected() -> None:
    found = replay(VMS, HOST, hosts=1)
    assert (found.rejected, found.peak) == (1, 1)


def test_a_replay_is_the_same_each_time() -> None:
    vms = [TracedVm(n // 3, n // 3 + 7 * (n % 11) + 1, (ONE, THREE)[n % 5 == 0]) for n in range(300)]
    assert replay(vms, HOST, hosts=None) == replay(vms, HOST, hosts=None)


def test_a_lifetime_is_the_middle_of_its_bin_and_never_where_the_end_was_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    with gzip.open(path, "wt") as lines:
        lines.write("part,arrival_s,batch,vcpus,mem_gib,dur_lo_s,dur_hi_s,censored\n")
        lines.write("dev,300,1,1,1.75,600,1200,0\ndev,300,1,2,3.5,300,300,1\n")
    first, second = traces.azure(path)
    assert (first.arrival_s, first.end_s, first.needs) == (300, 1200, Resources(vcpus=1, memory_mib=1792))
    assert second.end_s == traces.NEVER_S


def test_gpus_are_given_until_so_many_were_asked_for(tmp_path: Path) -> None:
    hosts, pods = tmp_path / "hosts.csv", tmp_path / "pods.csv"
    hosts.write_text("sn,cpu_milli,memory_mib,gpu,model\na,8000,8192,2,T4\nb,8000,8192,0,\n")
    header = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
    pods.write_text(header + "p,1000,1024,1,500,T4\nq,1000,1024,1,1000,\nr,1000,1024,1,500,V100|T4\n")
    assert traces.fill(traces.alibaba(hosts, pods), seed=0, ratio=1.0) == 1.0


def test_a_trace_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_TRACES", str(tmp_path))
    found = [*quality.azure("64c")(), *quality.alibaba()]
    assert [one.name for one in found] == [*quality.azure_names("64c"), quality.ALIBABA]
    assert all('"ok": false' in one.line() and "ROOST_TRACES" in one.detail["reason"] for one in found)
