"""The report of `make fresh` names the step that failed."""

import pytest

from tests.ground.fresh import Report
from tests.ground.room import RoomFailed


def test_a_failed_step_is_in_the_table_and_ends_the_run() -> None:
    report = Report()
    report.step("first", lambda: None)

    def fail() -> None:
        raise RoomFailed("why")

    with pytest.raises(RoomFailed):
        report.step("second", fail)
    rows = [row.split()[:2] for row in report.table().splitlines()]
    assert rows == [["STEP", "RESULT"], ["first", "ok"], ["second", "failed"]]
