"""Paths and commit files that no command may guess at."""

from __future__ import annotations

import os

import pytest

from image_features.pipeline.cli import main as cli
from tests import images


def test_a_commit_file_that_cannot_be_read_stops_everything(nights, nights_photos, capsys):
    (nights / "2" / "run.json").write_text('{"format_version": 1')
    for arguments in (
        ["compact", nights],
        ["gc", nights],
        ["search", nights, nights_photos / "1.jpg"],
        [
            "extract",
            f"--input={nights_photos}",
            f"--output={nights}",
            "--incremental",
            "--run_id=4",
        ],
    ):
        assert cli.main(list(map(str, arguments))) == 2
        assert "2/run.json is not a run's commit file" in capsys.readouterr().err
    assert sorted(os.listdir(nights)) == ["1", "2", "3"]


@pytest.mark.parametrize("character", "*?[]")
def test_a_path_that_is_a_pattern_is_refused(tmp_path, character, capsys):
    path = tmp_path / f"data{character}"
    path.mkdir()
    photos = images.write_noise(tmp_path / "photos", 1)
    for arguments in (
        ["extract", "--model=untrained", f"--input={photos}", f"--output={path}"],
        ["compact", str(path)],
        ["gc", str(path)],
        ["search", str(path), str(photos / "0.jpg")],
        ["report", str(path)],
        ["inspect", str(path)],
    ):
        assert cli.main(arguments) == 2
        assert f"holds {character}, which would stand for" in capsys.readouterr().err
    assert os.listdir(path) == []
