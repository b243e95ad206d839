"""A host's daemon is told its folders for disks as JSON, and its labels with commas."""

from pathlib import Path

import pytest

from events.machine import LABELS_MAX
from infra.runtime.settings import EX_CONFIG, load
from services.hostd.settings import HostdSettings
from tests.support.builders import HOST

NEEDED = {
    "ROOST_HOST_ID": str(HOST),
    "ROOST_HOST_NAME": "rack-1",
    "ROOST_STATE_DIR": "/state",
    "ROOST_IMAGE_DIR": "/images",
    "ROOST_NATS_URL": "nats://127.0.0.1:4222",
    "ROOST_NATS_SEED_FILE": "/keys/host.nk",
}


@pytest.fixture(autouse=True)
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_disks_lie_in_the_folders_that_were_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(HostdSettings).storages == {"default": Path("/var/lib/roost/disks")}
    monkeypatch.setenv("ROOST_STORAGES", '{"default": "/srv/a", "fast": "/srv/b"}')
    assert load(HostdSettings).storages == {"default": Path("/srv/a"), "fast": Path("/srv/b")}


@pytest.mark.parametrize("value", ["/srv", '["/srv"]', '{"Not a name": "/srv"}'])
def test_anything_else_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("ROOST_STORAGES", value)
    with pytest.raises(SystemExit) as ended:
        load(HostdSettings)
    assert ended.value.code == EX_CONFIG
    assert "ROOST_STORAGES" in capsys.readouterr().err


def test_labels_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(HostdSettings).labels == ()
    monkeypatch.setenv("ROOST_LABELS", "ssd, rack=A.1,")
    assert load(HostdSettings).labels == ("rack=A.1", "ssd")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Rack=a", "'Rack=a' is no label: write NAME or NAME=VALUE"),
        ("rack=", "'rack=' is no label"),
        ("ssd,gpu model", "'gpu model' is no label"),
        ("rack=a,rack=b", "'rack' is there twice"),
        (",".join(f"l{number}" for number in range(LABELS_MAX + 1)), f"at most {LABELS_MAX} items"),
    ],
)
def test_a_label_that_is_none_is_refused_with_what_is_possible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str, said: str
) -> None:
    monkeypatch.setenv("ROOST_LABELS", value)
    with pytest.raises(SystemExit) as ended:
        load(HostdSettings)
    told = capsys.readouterr().err
    assert ended.value.code == EX_CONFIG
    assert "setting ROOST_LABELS is " in told
    assert said in told
