"""Two pictures of a machine are told apart; what is not a difference is none."""

from pathlib import Path

import pytest

from tests.ground.picture import KINDS, Difference, Picture, differences, is_kept, parameters, table


def picture(**kinds: dict[str, str]) -> Picture:
    return {kind: kinds.get(kind, {}) for kind in KINDS}


def test_equal_pictures_have_no_difference() -> None:
    assert differences(picture(links={"lo": ""}), picture(links={"lo": ""})) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_new_gone_or_changed_is_named_in_every_kind(kind: str) -> None:
    before, after = {"kept": "", "old": "x", "other": "1"}, {"kept": "", "young": "", "other": "2"}
    assert differences(picture(**{kind: before}), picture(**{kind: after})) == [
        Difference(kind, "new", "young"),
        Difference(kind, "gone", "old x"),
        Difference(kind, "changed", "other 1 -> 2"),
    ]


def test_the_table_has_a_row_for_each() -> None:
    rows = table([Difference("links", "new", "br0")]).splitlines()
    assert [row.split() for row in rows] == [["KIND", "HOW", "WHAT"], ["links", "new", "br0"]]


def test_parameters_that_move_by_themselves_are_no_difference() -> None:
    listing = (
        "fs.file-nr = 1\t2\nkernel.pid_max = 4\nnet.ipv4.conf.br0.forwarding = 1\nnet.ipv4.ip_forward = 0"
    )
    assert parameters(listing) == {"kernel.pid_max": "4", "net.ipv4.ip_forward": "0"}


def test_only_what_is_listed_is_kept() -> None:
    copy = Path("/srv/roost")
    assert is_kept(copy, copy)
    assert is_kept(Path("/run/roost-lab/.kvm-1234"), copy)
    assert not is_kept(Path("/run/roost-lab/1a2b3c"), copy)
    assert not is_kept(Path("/tmp/roost-demo-1"), copy)  # noqa: S108
