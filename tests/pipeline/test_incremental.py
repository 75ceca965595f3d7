"""Runs that go on from committed ones: only what is new or changed is extracted."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

import pytest

from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run, read_record
from image_features.transforms.shards.index import read_index
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.datasets import counts, lines, names
from tests.http_server import ImageServer


def test_only_what_is_new_or_changed_is_extracted(night, photos):
    first = night("1", "--num_shards=3")
    assert counts(first) == (10, 9, 1, 0, 0)
    images.write(photos / "new.jpg", 100)
    images.write(photos / "2.jpg", 101)
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
        # A server that is gone: nothing is committed unless that is meant, and readers keep what
        # there is.
        server.down.set()
        night("4", *options, input=manifest, code=5)
        staging = tmp_path / "out" / "4" / ".staging"
        # Pieces stay for the next attempt; what waited has URIs as they were given, and goes.
        assert staging.exists()
        assert not (staging / "waiting").exists()
        fourth = night("4", *options, "--max_error_rate=1", input=manifest)
        assert counts(fourth) == (4, 0, 4, 0, 0)
        assert not staging.exists()
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


def test_shards_of_an_attempt_that_divided_otherwise_go(night, tmp_path):
    run = tmp_path / "out" / "1"
    (run / ".staging").mkdir(parents=True)
    for name in ("features-00001-of-00002.tfrecord", "index-00001-of-00002.parquet"):
        (run / name).write_text("left")
    (run / "features-notes.txt").write_text("mine")
    night("1")
    listed = {entry["name"] for entry in read_record(str(run))["files"]}
    assert {path.name for path in run.iterdir()} == {*listed, "run.json", "features-notes.txt"}
