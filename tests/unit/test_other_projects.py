"""Table of tested settings, and the search for Djangos and Pythons."""

from pathlib import Path

import pytest
from packaging.version import Version

from tests.other_projects.pythons import find_newest, is_version
from tests.other_projects.settings_table import Setting
from tests.other_projects.table import Line, as_property, compare, from_property, write

SETTING = Setting(variation="one", expected={"complete": "completed", "doctor": []})


@pytest.mark.parametrize(
    ("found", "result"),
    [
        ({"complete": "completed", "doctor": []}, "works"),
        ({"complete": "running", "doctor": []}, "**complete**: running"),
        ({"complete": "completed"}, "**doctor**: None"),
        ({"complete": "completed", "doctor": [], "more": 1}, "**more**: 1"),
    ],
)
def test_every_difference_is_reported(found: dict[str, object], result: str) -> None:
    assert compare(SETTING, SETTING.name, "a setting", found).result == result


def test_line_survives_transfer_to_another_process() -> None:
    line = Line(name="one", words="a setting", driven=("check",), wrong=(("check", "nothing"),), refusal="E018")

    assert from_property(as_property(line)) == line


def test_rows_of_other_suites_stay_in_the_file(tmp_path: Path) -> None:
    place = tmp_path / "var" / "matrix.md"
    write([Line(name="one", words="first", wrong=(("check", "bad"),)), Line(name="two", words="second")], place)

    printed = write([Line(name="one", words="first")], place)

    rows = [line for line in place.read_text().splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| first (one) |  | works |", "| second (two) |  | works |"]
    assert "second" not in printed


def test_newest_release_of_a_series_is_found() -> None:
    releases = sorted(map(Version, ["6.0.9", "6.0.10", "5.2.19", "6.1"]), reverse=True)

    assert find_newest(releases, "6.0") == Version("6.0.10")
    assert find_newest(releases, "6.1") == Version("6.1")
    assert find_newest(releases, "6.2") is None


def test_program_that_does_not_run_is_not_a_python(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)

    assert not is_version(shim, "3.12")
