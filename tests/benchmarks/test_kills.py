from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import doomed, measure


@pytest.mark.long
def test_commands_that_are_killed_end_as_if_undisturbed(tmp_path: pathlib.Path) -> None:
    result = tmp_path / "result.json"
    usage = measure.run(
        [sys.executable, "-m", "benchmarks.kills", "--times=12", f"--json={result}"], timeout=600
    )
    assert "identical" in usage.output
    found = json.loads(result.read_text())
    names = ["extract", "incremental", "compact", "gc", "export", "finetune"]
    assert [row["command"] for row in found["rows"]] == names
    for row in found["rows"]:
        assert row["trials"] == row["taken up"] == row["identical"] == 2
        assert row["kills"] >= 2
    assert all(not trial["problems"] for trial in found["trials"])


@pytest.mark.parametrize(
    ("event", "arguments", "counts"),
    [
        ("open", ("/place/a", "w", 1), True),
        ("open", ("/place/a", "r", 0), False),
        ("open", ("/elsewhere/a", "w", 1), False),
        ("open", (3, "w", 1), False),
        ("os.link", ("/place/a", "/place/b", -1, -1), True),
        ("os.remove", ("a", 7), True),
        ("os.listdir", ("/place/",), False),
    ],
)
def test_changes_of_files_are_known(
    event: str, arguments: tuple[object, ...], counts: bool
) -> None:
    assert doomed._changes(event, arguments, "/place/") is counts


def test_a_command_dies_before_the_change_that_was_drawn(tmp_path: pathlib.Path) -> None:
    place, counter = tmp_path / "place", tmp_path / "count"
    place.mkdir()
    output = place / "photographs"
    for moment, made in ((1, False), (2, True)):
        command = [sys.executable, "-m", "benchmarks.doomed", str(place), str(counter), str(moment)]
        command += ["samples", str(output)]
        done = subprocess.run(command, capture_output=True, start_new_session=True)
        assert done.returncode == -9
        assert output.exists() is made
    assert list(output.iterdir()) == []
    assert counter.read_text() == "1\n"
