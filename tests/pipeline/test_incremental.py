"""Runs that go on from committed ones: only what is new or changed, and every row once."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.shards.index import read_index
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.http_server import ImageServer


def write(path, seed):
    path.write_bytes(images.encode(images.noise(seed)))


def counts(run):
    found = read_record(str(run))["counts"]
    names = ("rows_in", "rows_out", "rows_failed", "rows_unchanged", "rows_removed")
    return tuple(found[name] for name in names)


def names(run):
    """The files whose images are in a run."""
    return sorted(pathlib.Path(uri).name for uri in dataset.load_numpy(str(run)).uris)


def lines(run, kind):
    found = []
    for entry in read_record(str(run))["files"]:
        if entry["kind"] == kind:
            found += (run / entry["name"]).read_text().splitlines()
    return [json.loads(line) for line in found]


@pytest.fixture
def photos(tmp_path):
    return images.write_noise(tmp_path / "photos", 9)


@pytest.fixture
def night(extract, photos):
    """Runs one night after the other."""

    def run(name, *options, input=photos, code=0):
        return extract(input, "--incremental", *options, run_id=name, code=code)

    return run


def test_only_what_is_new_or_changed_is_extracted(night, photos):
    first = night("1", "--num_shards=3")
    assert counts(first) == (10, 9, 1, 0, 0)
    write(photos / "new.jpg", 100)
    write(photos / "2.jpg", 101)
    (photos / "5.jpg").unlink()
    second = night("2", "--num_shards=2")
    # What failed is tried again.
    assert counts(second) == (10, 2, 1, 7, 1)
    assert names(second) == ["2.jpg", "new.jpg"]
    assert lines(second, "removed") == [
        {"key": image_key(str(photos / "5.jpg")), "uri": str(photos / "5.jpg")}
    ]
    assert inspection.verify(latest_run(str(second))) == []
    third = night("3")
    assert counts(third) == (10, 0, 1, 9, 1)


def test_readers_see_the_latest_version_of_each_row_once(night, photos, tmp_path):
    night("1", "--num_shards=3")
    write(photos / "new.jpg", 100)
    write(photos / "2.jpg", 101)
    (photos / "5.jpg").unlink()
    night("2", "--num_shards=2", "--compression=gzip")
    both = str(tmp_path / "out")
    expected = [*(f"{i}.jpg" for i in range(9)), "new.jpg"]
    assert names(both) == expected
    arrays = dataset.load_numpy(both)
    vectors = dict(zip(arrays.keys, arrays.features, strict=True))
    # As if all of it were extracted now, but for the one that is gone.
    night("whole", input=photos, code=0)
    fresh = cli.main(
        ["extract", "--model=untrained", f"--input={photos}", f"--output={tmp_path}/fresh"]
    )
    assert fresh == 0
    now = dataset.load_numpy(str(tmp_path / "fresh"))
    assert set(vectors) - set(now.keys) == {image_key(str(photos / "5.jpg"))}
    for key, vector in zip(now.keys, now.features, strict=True):
        np.testing.assert_array_equal(vectors[key], vector)
    for batch_size in (None, 4):
        rows = list(dataset.load(both, batch_size=batch_size).as_numpy_iterator())
        keys = np.concatenate([np.atleast_1d(row["image/key"]) for row in rows])
        features = np.concatenate([np.atleast_2d(row["image/features"]) for row in rows])
        assert sorted(key.decode() for key in keys) == sorted(vectors)
        for key, vector in zip(keys, features, strict=True):
            np.testing.assert_array_equal(vectors[key.decode()], vector)
    read = [example.features.feature["image/key"] for example in dataset.read_examples(both)]
    assert sorted(key.bytes_list.value[0].decode() for key in read) == sorted(vectors)


def test_tombstones_hide_what_is_removed_until_it_is_back(night, photos, tmp_path, capsys):
    both = str(tmp_path / "out")
    night("1")
    gone = (photos / "5.jpg").read_bytes()
    (photos / "5.jpg").unlink()
    second = night("2", "--tombstone_removed")
    assert [line["uri"] for line in lines(second, "tombstones")] == [str(photos / "5.jpg")]
    assert "5.jpg" not in names(both)
    rows = dataset.load(both).as_numpy_iterator()
    assert not any(row["image/uri"].endswith(b"/5.jpg") for row in rows)
    assert cli.main(["search", both, str(photos / "4.jpg"), "-k", "100"]) == 0
    assert "5.jpg" not in capsys.readouterr().out
    # What is hidden is not removed once more.
    third = night("3", "--tombstone_removed")
    assert counts(third) == (9, 0, 1, 8, 0)
    (photos / "5.jpg").write_bytes(gone)
    fourth = night("4")
    assert names(fourth) == ["5.jpg"]
    assert names(both) == [f"{i}.jpg" for i in range(9)]


def test_content_tells_what_times_do_not(night, photos):
    night("1")
    os.utime(photos / "1.jpg", (1, 1))
    status = os.stat(photos / "2.jpg")
    data = bytearray((photos / "2.jpg").read_bytes())
    data[-3] ^= 1
    (photos / "2.jpg").write_bytes(data)
    os.utime(photos / "2.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert names(night("by-content", "--verify_content")) == ["2.jpg"]
    assert names(night("by-time")) == ["1.jpg"]


def test_another_preprocessing_or_model_makes_all_anew(night):
    night("1")
    assert counts(night("2", "--resize=pad")) == (10, 9, 1, 0, 0)
    assert counts(night("3", "--precision=float16")) == (10, 9, 1, 0, 0)
    assert counts(night("4")) == (10, 0, 1, 9, 0)
    assert counts(night("5", "--resize=pad")) == (10, 0, 1, 9, 0)


def test_a_row_that_comes_twice_counts_once(night, photos, tmp_path):
    manifest = tmp_path / "m.txt"
    paths = [str(photos / f"{i}.jpg") for i in range(4)]
    manifest.write_text("\n".join(paths + paths[:2]))
    night("1", input=manifest)
    manifest.write_text("\n".join([*paths, paths[0], str(photos / "5.jpg"), str(photos / "5.jpg")]))
    run = read_record(str(night("2", input=manifest)))
    assert run["counts"]["duplicates"] == 2
    assert run["counts"]["rows_unchanged"] == 4
    assert run["counts"]["rows_out"] == 1


@pytest.mark.parametrize("conditional", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_server_is_asked_whether_anything_changed(night, tmp_path, conditional):
    picture = images.encode(images.noise(1))
    with ImageServer(dict.fromkeys(("tag", "date", "weak", "none"), picture)) as server:
        server.conditional = conditional
        server.validators = {
            "tag": {"ETag": '"1"'},
            "date": {"Last-Modified": "Tue, 24 Nov 2026 10:00:00 GMT"},
            "weak": {"ETag": 'W/"1"'},
        }
        manifest = tmp_path / "m.txt"
        manifest.write_text("\n".join(map(server.url, server.files)))
        options = ("--allow_private_hosts", "--fetch_attempts=1")
        night("1", *options, input=manifest)
        server.sent.clear()
        second = night("2", *options, input=manifest)
        # What tells no version is fetched; what tells one that is the same is not made again.
        assert names(second) == ["none"]
        if conditional:
            # A date is asked for without the body: a server would take an older one for the same.
            assert server.sent == {"none": 1, "date": 1}
        server.validators["tag"]["ETag"] = '"2"'
        server.validators["date"]["Last-Modified"] = "Wed, 25 Nov 2026 10:00:00 GMT"
        third = night("3", *options, input=manifest)
        assert names(third) == ["date", "none", "tag"]
        # A server that is gone: the rows fail, and readers keep what there is.
        server.down.set()
        fourth = night("4", *options, input=manifest)
        assert counts(fourth) == (4, 0, 4, 0, 0)
    assert names(fourth.parent) == ["date", "none", "tag", "weak"]


def test_a_column_can_tell_the_version(night, tmp_path):
    with ImageServer({name: images.encode(images.noise(1)) for name in "ab"}) as server:
        manifest = tmp_path / "m.csv"

        def run(name, *versions):
            rows = zip(server.files, versions, strict=True)
            manifest.write_text(
                "url,etag\n" + "".join(f"{server.url(file)},{version}\n" for file, version in rows)
            )
            return night(name, "--version_column=etag", "--allow_private_hosts", input=manifest)

        run("1", "x", "")
        server.hits.clear()
        assert names(run("2", "x", "")) == ["b"]
        assert server.hits == {"b": 1}
        assert names(run("3", "y", "z")) == ["a", "b"]
        server.hits.clear()
        assert names(run("4", "y", "z")) == []
        assert not server.hits


def test_a_run_may_be_asked_for_twice(night, photos, capsys):
    first = night("1")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    write(photos / "new.jpg", 100)
    night("2")
    night("1")
    assert "is committed already" in capsys.readouterr().out
    assert before == {path.name: path.read_bytes() for path in first.iterdir()}


def test_the_index_is_what_the_shard_holds(night):
    run = night("1", "--num_shards=2")
    for entry in read_record(str(run))["files"]:
        if entry["kind"] != "index":
            continue
        table = read_index(str(run / entry["name"]), ["key", "version", "sha256", "uri"])
        shard = entry["name"].replace("index", "features").replace("parquet", "tfrecord")
        keys = [key.hex() for key in table["key"].to_pylist()]
        assert keys == sorted(keys)
        arrays = dataset.load_numpy(str(run))
        uris = dict(zip(arrays.keys, arrays.uris, strict=True))
        assert table["uri"].to_pylist() == [uris[key] for key in keys]
        assert len(keys) == entry["rows"] == _rows(run, shard)
        for row in table.to_pylist():
            status = os.stat(row["uri"])
            assert row["version"] == f"file:{status.st_size}:{status.st_mtime_ns}"
            data = pathlib.Path(row["uri"]).read_bytes()
            assert row["sha256"] == hashlib.sha256(data).digest()


def _rows(run, name):
    return next(f["rows"] for f in read_record(str(run))["files"] if f["name"] == name)


def test_too_much_removed_stops_the_commit(night, photos, tmp_path, capsys):
    night("1")
    manifest = tmp_path / "m.txt"
    manifest.write_text(str(photos / "1.jpg"))
    night("2", "--max_removed_rate=0.5", "--tombstone_removed", input=manifest, code=5)
    assert "8 rows of the dataset are not in the input any more" in capsys.readouterr().err
    assert len(names(tmp_path / "out")) == 9


def test_what_is_gone_for_long_does_not_count_every_night(night, photos):
    night("0")
    (photos / "1.jpg").unlink()
    limit = "--max_removed_rate=0.15"
    assert counts(night("1", limit))[-1] == 1
    (photos / "2.jpg").unlink()
    assert counts(night("2", limit))[-1] == 2
    assert cli.main(["compact", str(photos.parent / "out"), "--run_id=all"]) == 0
    assert counts(night("3", limit))[-1] == 2
    for name in "34":
        (photos / f"{name}.jpg").unlink()
    night("4", limit, code=5)
    night("4", "--tombstone_removed", "--max_removed_rate=0.5")
    assert counts(night("5", limit))[-1] == 0


def test_what_fails_every_night_is_the_same_part_of_the_rows(night):
    # One of ten rows is broken, and the second night has nothing else to do.
    for name in "12":
        night(name, "--max_error_rate=0.1", "--error_budget=0.1")
    night("3", "--error_budget=0.09", code=3)
    night("4", "--max_error_rate=0.09", code=5)


def test_columns_of_runs_are_merged(extract, photos, tmp_path):
    def run(name, row):
        manifest = tmp_path / f"{name}.jsonl"
        manifest.write_text(json.dumps(row))
        extract(manifest, run_id=name)

    run("1", {"uri": str(photos / "1.jpg"), "label": 1})
    run("2", {"uri": str(photos / "2.jpg"), "source": "x"})
    arrays = dataset.load_numpy(str(tmp_path / "out"))
    found = {
        pathlib.Path(uri).name: (label, source)
        for uri, label, source in zip(
            arrays.uris, arrays.columns["label"], arrays.columns["source"], strict=True
        )
    }
    assert found == {"1.jpg": (1, None), "2.jpg": (None, "x")}
    rows = list(dataset.load(str(tmp_path / "out")).as_numpy_iterator())
    assert sorted(len(row["label"]) for row in rows) == [0, 1]
    run("3", {"uri": str(photos / "3.jpg"), "label": "three"})
    with pytest.raises(ValueError, match=r"'label'.*read the runs one by one"):
        dataset.load(str(tmp_path / "out"))


def test_failed_rows_are_taken_up(extract, photos, tmp_path):
    manifest = tmp_path / "m.csv"
    rows = [f"{photos}/{name},{i}" for i, name in enumerate(["1.jpg", "broken.jpg", "late.jpg"])]
    manifest.write_text("uri,number\n" + "\n".join(rows))
    extract(manifest, "--column_types=number:int64", run_id="1")
    write(photos / "late.jpg", 50)
    output = tmp_path / "out"

    def retry(run, *options):
        return cli.main(
            [
                "extract",
                "--model=untrained",
                f"--retry_errors={run}",
                f"--output={output}",
                *options,
            ]
        )

    assert retry("1", "--run_id=2") == 0
    run = read_record(str(output / "2"))
    assert (run["counts"]["rows_in"], run["counts"]["rows_out"]) == (2, 1)
    arrays = dataset.load_numpy(str(output))
    found = {
        pathlib.Path(uri).name: number
        for uri, number in zip(arrays.uris, arrays.columns["number"], strict=True)
    }
    assert found == {"1.jpg": 0, "late.jpg": 2}
    (error,) = lines(output / "2", "errors")
    assert (error["number"], error["reason"]) == (1, "corrupt")
    # A path does as well, what is known by now is left out, and what did not fail is not missed.
    assert retry(output / "1", "--run_id=3", "--incremental") == 0
    assert counts(output / "3") == (2, 0, 1, 1, 0)


def test_failed_rows_of_several_shards_have_the_types_they_had(extract, photos, tmp_path):
    manifest = tmp_path / "m.jsonl"
    rows = [{"uri": f"gone-{i}.jpg", "n": i if i % 2 else None} for i in range(40)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = extract(manifest, "--num_shards=300", run_id="1")
    assert (
        len([entry for entry in read_record(str(run))["files"] if entry["kind"] == "errors"]) == 30
    )
    arguments = ["--model=untrained", f"--output={tmp_path}/out", "--retry_errors=1"]
    assert cli.main(["extract", *arguments, "--run_id=2"]) == 0
    assert counts(tmp_path / "out" / "2") == (40, 0, 40, 0, 0)
    assert sorted(error["n"] or 0 for error in lines(tmp_path / "out" / "2", "errors")) == [
        *[0] * 20,
        *range(1, 40, 2),
    ]


def test_a_row_that_cannot_be_read_hides_nothing(night, photos, tmp_path):
    manifest = tmp_path / "m.jsonl"

    def run(name, value):
        rows = [{"uri": f"photos/{i}.jpg", "n": 1 if i else value} for i in range(3)]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        options = ("--column_types=n:int64", "--tombstone_removed")
        return night(name, *options, input=manifest)

    run("1", 1)
    assert counts(run("2", "one")) == (3, 0, 1, 2, 0)
    assert names(tmp_path / "out") == ["0.jpg", "1.jpg", "2.jpg"]
    # The row says where its image is, so that it can be tried again from elsewhere.
    assert lines(tmp_path / "out" / "2", "errors")[0]["uri"] == str(photos / "0.jpg")


def test_a_column_must_hold_what_it_held(night, photos, tmp_path, capsys):
    manifest = tmp_path / "m.jsonl"

    def run(name, value, *options, code=0):
        row = {"uri": str(photos / f"{name}.jpg"), "n": value}
        manifest.write_text(json.dumps(row))
        return night(name, *options, input=manifest, code=code)

    run("1", 1)
    assert not run("2", 1.5, code=2).exists()
    assert "say --column_types=n:int64" in capsys.readouterr().err
    run("2", 2.0, "--column_types=n:int64?")
    assert lines(tmp_path / "out" / "2", "errors")[0]["reason"] == "bad_manifest_row"
    assert sorted(dataset.load_numpy(str(tmp_path / "out")).columns["n"]) == [1]


def test_the_latest_run_tells_what_a_column_holds(extract, night, photos, tmp_path):
    manifest = tmp_path / "m.jsonl"

    def rows(value):
        manifest.write_text(json.dumps({"uri": str(photos / "1.jpg"), "n": value}))
        return manifest

    extract(rows(1), run_id="1")
    extract(rows(1.5), run_id="2")
    assert counts(night("3", input=rows(2.5))) == (1, 0, 0, 1, 0)
    night("4", input=rows(2), code=2)


def test_a_whole_input_begins_the_count_of_removed_rows_anew(extract, night, photos, tmp_path):
    paths = [f"{photos}/{i}.jpg" for i in range(9)]
    manifest = tmp_path / "m.txt"

    def name(count):
        manifest.write_text("\n".join(paths[:count]))
        return manifest

    extract(name(9), run_id="1")
    assert counts(night("2", input=name(5)))[-1] == 4
    extract(name(9), run_id="3")
    night("4", "--max_removed_rate=0.2", input=name(5), code=5)


def test_shards_of_an_attempt_that_divided_otherwise_go(night, tmp_path):
    run = tmp_path / "out" / "1"
    (run / ".staging").mkdir(parents=True)
    for name in ("features-00001-of-00002.tfrecord", "index-00001-of-00002.parquet"):
        (run / name).write_text("left")
    (run / "features-notes.txt").write_text("mine")
    night("1")
    listed = {entry["name"] for entry in read_record(str(run))["files"]}
    assert {path.name for path in run.iterdir()} == {*listed, "run.json", "features-notes.txt"}


def test_what_cannot_be_retried_is_said(extract, photos, tmp_path, capsys):
    manifest = tmp_path / "m.txt"
    manifest.write_text(str(photos / "1.jpg"))
    extract(manifest, run_id="1")

    def refused(*options):
        capsys.readouterr()
        arguments = ["extract", "--model=untrained", f"--output={tmp_path}/out", *options]
        assert cli.main(arguments) == 2
        return capsys.readouterr().err

    assert "has no row that failed" in refused("--retry_errors=1")
    assert "no committed run" in refused("--retry_errors=no")
    assert "exclude each other" in refused("--retry_errors=1", "--input=x")
    assert "--tombstone_removed would count" in refused(
        "--retry_errors=1", "--incremental", "--tombstone_removed"
    )
    assert "--max_removed_rate would count" in refused(
        "--retry_errors=1", "--incremental", "--max_removed_rate=0.1"
    )
    for option in ("--verify_content", "--tombstone_removed", "--max_removed_rate=0.1"):
        assert "of use with --incremental only" in refused(f"--input={manifest}", option)
    assert "No manifest has the column" in refused(f"--input={manifest}", "--version_column=v")


def test_an_index_that_is_gone_or_cut_ends_a_run_before_any_work(night, capsys):
    index = night("1") / "index-00000-of-00001.parquet"
    index.write_bytes(index.read_bytes()[:-1])
    for _ in range(2):
        assert not (night("2", code=2) / "run.json").exists()
        assert f"/1 has lost {index.name}; copy it from a backup" in capsys.readouterr().err
        index.unlink(missing_ok=True)


def test_without_an_index_rows_are_read_and_images_made_again(night, photos, tmp_path, caplog):
    first = night("1")
    record = json.loads((first / "run.json").read_text())
    record["files"] = [entry for entry in record["files"] if entry["kind"] != "index"]
    (first / "run.json").write_text(json.dumps(record))
    (first / "index-00000-of-00001.parquet").unlink()
    write(photos / "2.jpg", 101)
    assert counts(night("2")) == (10, 9, 1, 0, 0)
    assert "has no index" in caplog.text
    assert names(tmp_path / "out") == [f"{i}.jpg" for i in range(9)]
