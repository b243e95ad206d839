"""What a fresh machine takes over is read from the settings, whatever they name."""

from pathlib import Path

from tests.ground.machine import index_whole, pip_files, places, values

DEBUG = """\
env_var:
  PIP_CERT='/etc/cert.pem'
global:
  /etc/xdg/pip/pip.conf, exists: False
  /etc/pip.conf, exists: True
    global.cert: /etc/cert.pem
site:
  /opt/python/pip.conf, exists: True
user:
  /srv/user/pip.conf, exists: True
"""


def test_pips_files_are_those_that_it_read_outside_one_environment() -> None:
    assert pip_files(DEBUG) == [Path("/etc/pip.conf"), Path("/srv/user/pip.conf")]


def test_folders_are_found_in_paths_and_file_addresses(tmp_path: Path) -> None:
    (tmp_path / "simple").mkdir()
    settings = (
        f"global.find-links='{tmp_path} /not/there'\n:env:.extra-index-url='file://{tmp_path}/simple'\n"
    )
    assert places(values(settings)) == {tmp_path, tmp_path / "simple"}
    assert places(["https://host/simple", "/", "180", "relative"]) == set()


def test_an_index_is_taken_with_the_files_beside_it(tmp_path: Path) -> None:
    assert index_whole(tmp_path / "simple") == tmp_path
    assert index_whole(tmp_path / "wheels") == tmp_path / "wheels"
