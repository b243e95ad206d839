"""Readiness and outages, with one holder of a part and with several."""

from infra.runtime.health import Health


def test_a_part_is_not_ready_before_it_was_seen_to_work() -> None:
    health = Health("log")
    assert not health.ready
    assert health.report() == {"log": "not started yet"}
    assert not health.up("log")
    assert health.ready


def test_an_outage_begins_once_and_ends_once() -> None:
    health = Health("log")
    health.up("log")
    assert health.down("log", "gone")
    assert not health.down("log", "still gone")
    assert health.report() == {"log": "still gone"}
    assert health.up("log")
    assert not health.up("log")


def test_a_part_is_up_only_when_all_who_need_it_say_so() -> None:
    health = Health("log")
    health.up("log", "follow")
    assert health.down("log", "gone", "serve")
    assert not health.up("log", "follow")
    assert not health.ready
    assert health.up("log", "serve")
    assert health.ready
