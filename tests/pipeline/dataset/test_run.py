"""Paths and commit files that no command may guess at."""

from __future__ import annotations

import os
import shutil

import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading
from image_features.pipeline.dataset.known_runs import known_files
from image_features.pipeline.dataset.run import current_runs
from image_features.transforms.shards.known_index import read_known
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


@pytest.mark.parametrize(("run", "kind"), [("1", "index"), ("3", "tombstones")])
def test_a_file_that_decides_which_rows_count_is_believed_as_committed_only(
    nights, run, kind, capsys
):
    """With other keys of the same size in it, rows would be hidden, or seen twice."""
    name = next(
        entry["name"]
        for entry in datasets.record_of(nights / run)["files"]
        if entry["kind"] == kind and entry["rows"]
    )
    path = nights / run / name
    data = path.read_bytes()
    spoiled = bytes(byte ^ (60 < position < 70) for position, byte in enumerate(data))
    path.write_bytes(spoiled)
    with pytest.raises(
        ValueError, match=f"{name} is damaged \\(it is not the file that was committed"
    ):
        reading.load_numpy(str(nights))
    assert cli.main(["search", str(nights), f"--key={'0' * 32}"]) == 2
    assert f"{path} is damaged (it is not the file that was committed" in capsys.readouterr().err
    runs = known_files(current_runs(str(nights)))
    with pytest.raises(
        ValueError, match=f"{name} is damaged \\(it is not the file that was committed"
    ):
        list(read_known(enumerate(runs), verify=False))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty"),
        (bytes(500), "it is empty"),
        (b'{"format_version": 1', "delimiter"),
        (b"\xff\xfe\x00", "codec"),
        (b"[]", "lacks 'format_version'"),
        (b"null", "not iterable"),
        (b"[" * 99999, "recursion"),
        (b'{"format_version": "x"}', "invalid literal"),
        (b'{"format_version": 1}', "lacks 'files'"),
        (b'{"format_version": 1, "files": [{"kind": "features"}]}', "lacks 'name'"),
        (b'{"format_version": 1, "files": []}', "lacks 'run_id'"),
        (b'{"format_version": 2, "files": []}', "lacks 'files_in'"),
        (
            b'{"format_version": 1, "run_id": 1, "started": "x", "finished": "y", "files": []}',
            "isoformat",
        ),
    ],
)
def test_a_spoiled_commit_file_is_named_with_the_way_out(tmp_path, data, says, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes(data)
    for path in (tmp_path, tmp_path / "run"):
        assert cli.main(["inspect", str(path)]) == 2
        error = capsys.readouterr().err.strip()
        assert f"{tmp_path}/run/run.json is not a run's commit file (" in error
        assert says in error
        assert "Copy it from a backup, or without one delete the run's directory" in error


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
