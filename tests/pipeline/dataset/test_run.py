"""Paths and commit files that no command may guess at."""

from __future__ import annotations

import os
import shutil

import pytest

from image_features.pipeline.cli import main as cli
from tests import datasets, images


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


def test_a_dataset_whose_path_could_be_a_pattern_is_that_directory(tmp_path, nights, capsys):
    """The pattern `a[1] *?` matches the name of another dataset beside it."""
    photos = images.write_noise(tmp_path / "photos", 2)
    shutil.copytree(nights, tmp_path / "a1 xx")
    path = tmp_path / "a[1] *?"
    for name in ("1", "2"):
        datasets.extract(photos, path, name, "--incremental")
    assert datasets.counts(path / "2")[3] == 2
    datasets.compact(path)
    assert datasets.names(path) == ["0.jpg", "1.jpg"]
    for command in (["search", str(path), str(photos / "0.jpg")], ["inspect", str(path)]):
        assert cli.main(command) == 0
    assert cli.main(["gc", str(path), "--merged_hours=0"]) == 0
    assert datasets.files(path / "all") == sorted(
        [*(entry["name"] for entry in datasets.record_of(path / "all")["files"]), "run.json"]
    )
    assert os.listdir(path) == ["all"]
    assert datasets.files(tmp_path / "a1 xx") == datasets.files(nights)


@pytest.mark.parametrize("character", "*?[]")
def test_an_object_store_is_given_no_pattern(tmp_path, character, capsys):
    photos = images.write_noise(tmp_path / "photos", 1)
    path = f"gs://bucket/data{character}"
    for arguments in (
        ["extract", "--model=untrained", f"--input={photos}", f"--output={path}"],
        ["compact", path],
        ["gc", path],
        ["report", path],
        ["inspect", path],
    ):
        assert cli.main(arguments) == 2
        assert f"holds {character}, which would stand for" in capsys.readouterr().err
