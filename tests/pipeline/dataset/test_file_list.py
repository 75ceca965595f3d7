"""The files that a commit lists, in the commit file and in a file beside it."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import pathlib
import pickle

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from image_features.errors import UnreadableRunError
from image_features.pipeline.cli import main as cli
from image_features.pipeline.commit import publish, tidy_up
from image_features.pipeline.commit.tidy_up import RemoveStaging, parts_of, remove_leftovers
from image_features.pipeline.dataset import file_list, garbage, reading
from image_features.pipeline.dataset.file_list import Commit, FileList, with_files
from image_features.pipeline.dataset.inspection import verify
from image_features.pipeline.dataset.layout import ExportLayout, RunLayout
from image_features.pipeline.dataset.run import Run, read_record
from image_features.transforms.shards.shard_file import ShardFile
from tests import runs, written
from tests.runs import ERRORS, FEATURES, INDEX

LATER = 2**40  # A time after all.
_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
_FILES = st.lists(
    st.builds(
        ShardFile,
        st.sampled_from(["features", "errors", "index", "schema"]),
        _TEXT,
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        _TEXT,
    ),
    max_size=20,
)


@pytest.fixture
def apart(monkeypatch):
    monkeypatch.setattr(file_list, "MOST_IN_JSON", 1)


def beside(run: pathlib.Path) -> pathlib.Path:
    """Gives a committed run a list of its files in a file beside run.json; returns that file."""
    record = json.loads((run / "run.json").read_text())
    (run / ".staging").mkdir()
    moved = with_files(RunLayout(str(run)), record, FileList.of(record["files"]))
    (run / ".staging").rmdir()
    (run / "run.json").write_text(json.dumps(moved))
    return run / moved["files_in"]["name"]


@settings(max_examples=60, deadline=None)
@given(_FILES)
def test_both_ways_to_list_files_read_equal(tmp_path_factory, files):
    directory = tmp_path_factory.mktemp("run")
    (directory / ".staging").mkdir()
    layout, most = RunLayout(str(directory)), file_list.MOST_IN_JSON
    record = {"format_version": 1, "a": 1, "files": None, "z": 2}
    description = {"name": "schema.pbtxt", "kind": "schema", "bytes": 3, "sha256": "aa"}
    listed = FileList.of([description, *files])
    try:
        file_list.MOST_IN_JSON = 100
        within = with_files(layout, record, listed)
        file_list.MOST_IN_JSON = 0
        outside = with_files(layout, record, listed)
    finally:
        file_list.MOST_IN_JSON = most
    assert list(within) == ["format_version", "a", "files", "z"]
    assert within["files"] == [description, *(file.to_json() for file in files)]
    assert "files" not in outside and outside["format_version"] == 2
    commits = [
        Commit.of(layout.directory, json.loads(json.dumps(found))) for found in (within, outside)
    ]
    wanted = [ShardFile("schema", "schema.pbtxt", 0, 3, "aa"), *files]
    for commit, found in zip(commits, (within, outside), strict=True):
        assert commit.to_json() == found
        assert commit.to_json(whole=True)["files"] == within["files"]
        for got in (commit.files, pickle.loads(pickle.dumps(commit.files))):
            assert list(got) == wanted and len(got) == len(wanted) and got == listed
            assert [got[at] for at in range(-len(wanted), len(wanted))] == wanted + wanted
            assert list(got[1:-1]) == wanted[1:-1] and list(got[::-2]) == wanted[::-2]
            for kind in ("features", "schema", "none"):
                of_kind = [file for file in wanted if file.kind == kind]
                assert list(got.of_kind(kind)) == of_kind and bool(got.of_kind(kind)) == bool(
                    of_kind
                )
                assert got.of_kind(kind).column("name") == [file.name for file in of_kind]
            with pytest.raises(IndexError):
                _ = got[len(wanted)]


def test_readers_see_the_same_rows_whichever_way(tmp_path, apart, capsys):
    for number in (1, 2):
        names = {f"{number}{letter}": float(place) for place, letter in enumerate("abcdef")}
        names["same"] = 100.0 * number
        written.write_run(
            tmp_path, f"{number}", names, day=number, shards=3, gone=["1a"] * (number - 1)
        )
    before = reading.load_numpy(str(tmp_path))
    assert cli.main(["inspect", str(tmp_path), "--json", "--no_verify"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for number in "12":
        beside(tmp_path / number)
    after = reading.load_numpy(str(tmp_path))
    assert dict(zip(before.uris, map(bytes, before.features), strict=True)) == dict(
        zip(after.uris, map(bytes, after.features), strict=True)
    )
    assert len(before.uris) == 12 and np.array_equal(np.sort(before.keys), np.sort(after.keys))
    assert cli.main(["inspect", str(tmp_path), "--json", "--no_verify"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["files"] == printed["files"] and "files_in" in again
    assert verify(Run.read(str(tmp_path / "2"))) == []


def test_counts_are_known_without_the_entries(tmp_path, apart):
    run = written.write_run(tmp_path, "1", {"a": 1.0, "b": 2.0})
    beside(run).unlink()
    assert Run.read(str(run)).rows == 2


@pytest.mark.parametrize("damage", ["lost", "cut", "empty", "bit", "another"])
def test_a_damaged_list_is_named_with_the_way_out(tmp_path, apart, capsys, damage):
    run = written.write_run(tmp_path, "1", {"a": 1.0, "b": 2.0})
    file = beside(run)
    data = bytearray(file.read_bytes())
    if damage == "lost":
        file.unlink()
    elif damage == "another":
        other = written.write_run(tmp_path, "2", {"c": 1.0, "d": 2.0})
        file.write_bytes(beside(other).read_bytes())
        (other / "run.json").unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes({"cut": data[:-3], "empty": b"", "bit": data}[damage])
    with pytest.raises(UnreadableRunError):
        _ = list(Run.read(str(run)).all_files)
    assert cli.main(["inspect", str(run)]) == 2
    error = capsys.readouterr().err
    what = "is missing" if damage == "lost" else "is not the file that was committed"
    assert (
        f"{file}, which lists the files of {run}/run.json, {what}. Copy it from a backup" in error
    )
    with pytest.raises(UnreadableRunError):
        reading.load_numpy(str(tmp_path))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../_files-0123456789abcdef.list"},
        {"sha256": ""},
        {"files": "many"},
        {"name": None},
    ],
)
def test_a_commit_that_names_no_list_is_refused(tmp_path, apart, changed):
    run = written.write_run(tmp_path, "1", {"a": 1.0, "b": 2.0})
    beside(run)
    record = json.loads((run / "run.json").read_text())
    record["files_in"] |= changed
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(UnreadableRunError, match="is not a run's commit file"):
        Run.read(str(run))


def test_a_list_with_another_number_of_entries_is_refused(tmp_path, apart):
    run = written.write_run(tmp_path, "1", {"a": 1.0, "b": 2.0})
    beside(run)
    record = json.loads((run / "run.json").read_text())
    record["files_in"]["files"] += 1
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(UnreadableRunError, match="it has 2 entries, not 3"):
        len(Run.read(str(run)).all_files)


def test_a_format_of_later_versions_is_refused(tmp_path):
    run = written.write_run(tmp_path, "1", {"a": 1.0})
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"format_version": 3}))
    with pytest.raises(UnreadableRunError, match="has format 3, this version reads up to 2: up"):
        Run.read(str(run))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "data" / "run" / ".staging").mkdir(parents=True)
    return runs.config(str(tmp_path / "data" / "run"))


def lists_in(config) -> list[str]:
    found = pathlib.Path(config.layout.directory).glob("_files-*")
    return sorted(path.name for path in found)


def test_a_commit_with_many_files_is_found_by_its_other_attempts(config, apart):
    first = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    assert first == read_record(config.layout.directory)
    assert lists_in(config) == [first["files_in"]["name"]]
    again = runs.commit(config, [FEATURES, ERRORS, INDEX], 8, 1, runs.health(2))
    assert again == first and lists_in(config) == [first["files_in"]["name"]]
    other = dataclasses.replace(FEATURES, sha256="dd")
    with pytest.raises(publish.CommitError, match="written by another job"):
        runs.commit(config, [other, INDEX, ERRORS], 8, 1)


def test_death_before_run_json_leaves_nothing_that_readers_see(config, apart, monkeypatch, capsys):
    dataset = os.path.dirname(config.layout.directory)

    def die(path, data, part):
        if path.endswith("run.json"):
            raise KeyboardInterrupt
        return create_once(path, data, part)

    create_once = publish.create_once
    with monkeypatch.context() as patched:
        patched.setattr(publish, "create_once", die)
        with pytest.raises(KeyboardInterrupt):
            runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    [left] = lists_in(config)
    assert read_record(config.layout.directory) is None
    assert cli.main(["inspect", dataset]) == 2
    # The next attempt writes other statistics, and so another list.
    record = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(2))
    named = record["files_in"]["name"]
    assert lists_in(config) == sorted([left, named]) and left != named

    def found(before):
        return garbage.find_garbage(
            garbage.look_at(dataset), merged_before=before, died_before=before
        )

    [stray] = [each for each in found(LATER) if each.is_file]
    assert stray.directory == config.layout.path(left)
    assert not any(each.is_file for each in found(0))
    capsys.readouterr()
    assert cli.main(["gc", dataset, "--dry_run"]) == 0
    assert "nothing to remove yet" in capsys.readouterr().out
    garbage.remove(stray)
    assert lists_in(config) == [named]
    pathlib.Path(config.layout.path(left)).write_bytes(b"")
    pathlib.Path(config.layout.path("_files-mine.list")).write_bytes(b"")
    remove_leftovers(record, config.layout)
    assert lists_in(config) == sorted([named, "_files-mine.list"])


def test_the_pieces_of_many_shards_are_removed_by_all_workers():
    layout = RunLayout("gs://bucket/data/run", fingerprint="ab")
    few = {"format_version": 1, "files": []}
    many = {"format_version": 2, "files_in": {"name": "_files-", "files": 210_000}}
    assert list(parts_of(few, [layout.features])) == []
    assert list(parts_of(many, [RunLayout("/data/run").features])) == []
    parts = list(parts_of(many, [layout.features, layout.errors]))
    assert len(parts) == len(set(parts)) == 2000
    for shard in (0, 7, 999, 99_999, 100_000, 123_456):
        path = f"{layout.features.piece_prefix(shard)}0123"
        assert sum(fnmatch.fnmatchcase(path, part) for part in parts) == 1
    # A sheaf is removed with the rest.
    assert not any(fnmatch.fnmatchcase(f"{layout.features.sheaf_prefix}01", part) for part in parts)


def test_staging_is_removed_in_parts_and_then_whole(config, apart, monkeypatch):
    record = runs.commit(config, [ERRORS, INDEX, FEATURES], 8, 1, runs.health(1))
    pieces = pathlib.Path(config.layout.features.pieces)
    pieces.mkdir()
    for number in range(3):
        (pieces / f"{number:05d}-aa").touch()
    monkeypatch.setattr(tidy_up, "parts_of", lambda record, namings: ["/nowhere/*", "gs:bad"])
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        left = pipeline | beam.Create([record]) | RemoveStaging(config.layout)
        assert_that(left, equal_to([record]))
    assert not os.path.exists(config.layout.staging)


def test_a_list_is_hidden_where_its_commit_file_is(tmp_path, apart):
    (tmp_path / ".staging").mkdir()
    for layout, beginning in (
        (RunLayout(str(tmp_path)), "_files-"),
        (ExportLayout(str(tmp_path)), ".files-"),
    ):
        entries = FileList.of([FEATURES, INDEX])
        record = with_files(layout, {"format_version": 1, "files": None}, entries)
        assert record["files_in"]["name"].startswith(beginning)
        assert list(Commit.of(str(tmp_path), record).files) == [FEATURES, INDEX]


def test_the_pieces_of_an_attempt_are_looked_at_together(tmp_path):
    staging = tmp_path / "data" / "run" / ".staging"
    for kind in ("features-ab", "errors"):
        (staging / kind).mkdir(parents=True)
    (staging / "launch.json").write_bytes(b"12")
    for number in range(50):
        (staging / "features-ab" / f"{number:05d}-aa").write_bytes(b"123")
    (staging / "errors" / "00000-aa").write_bytes(b"1")
    os.utime(staging / "features-ab" / "00007-aa", (2**32, 2**32))
    [names] = garbage.look_at(str(tmp_path / "data")).files.values()
    assert sorted(names) == [".staging/errors", ".staging/features-ab", ".staging/launch.json"]
    found = garbage.look_at(str(tmp_path / "data"))
    assert not garbage.find_garbage(found, merged_before=LATER, died_before=2**32 - 1)
    [attempt] = garbage.find_garbage(found, merged_before=LATER, died_before=2**32)
    assert attempt.bytes == 153 and attempt.directory == str(tmp_path / "data" / "run")
