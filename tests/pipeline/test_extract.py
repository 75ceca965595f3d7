"""Whole runs on the in-process runner, read back."""

import csv
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest

from image_features.models.handles import resolve
from image_features.pipeline.dataset import inspection
from image_features.pipeline.dataset import reading as dataset
from image_features.pipeline.dataset.run import latest_run
from image_features.transforms.images.pixels import decode_image
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.datasets import read_examples
from tests.http_server import ImageServer


@pytest.fixture
def photos(tmp_path):
    directory = tmp_path / "photos"
    directory.mkdir()
    for i in range(40):
        (directory / f"{i:02d}.jpg").write_bytes(images.encode(images.noise(i), quality=90))
    return directory


def files_of(run):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.iterdir()
        if path.name not in ("run.json", "metrics.prom")  # They tell the run's name and times.
    }


def test_every_image_has_the_features_tensorflow_gives_it(extract, photos):
    run = extract(photos, "--num_shards=3", "--batch_size=8")
    arrays = dataset.load_numpy(str(run))
    assert sorted(arrays.uris) == sorted(str(path) for path in photos.iterdir())
    assert list(arrays.keys) == [image_key(uri) for uri in arrays.uris]

    import tensorflow as tf

    module = tf.saved_model.load(resolve("untrained").directory, tags=[])
    signature = module.signatures["image_feature_vector"]
    policy = DecodePolicy(image_size=(96, 96))
    pixels = np.stack(
        [decode_image(pathlib.Path(uri).read_bytes(), policy).pixels for uri in arrays.uris]
    )
    expected = signature(images=tf.constant(pixels.astype(np.float32) / 255))["default"].numpy()
    np.testing.assert_allclose(arrays.features, expected, rtol=1e-4, atol=1e-5)
    assert np.unique(arrays.features, axis=0).shape[0] == 40


@pytest.mark.parametrize(
    "options",
    [
        ("--direct_num_workers=4", "--direct_running_mode=multi_threading"),
        pytest.param(
            ("--direct_num_workers=4", "--direct_running_mode=multi_processing"),
            marks=pytest.mark.slow,
        ),
        ("--fetch_threads=1", "--cpu_threads=1"),
    ],
)
def test_the_same_bytes_whatever_the_workers(extract, photos, options):
    alone = extract(photos, "--num_shards=3", "--batch_size=8", run_id="alone")
    many = extract(photos, "--num_shards=3", "--batch_size=8", *options, run_id="many")
    assert files_of(alone) == files_of(many)
    assert len(files_of(alone)) == 3 + 1 + 3 + 3 + 1


def test_each_bad_row_fails_alone_with_its_reason(extract, tmp_path):
    good = images.encode(images.noise(1), quality=90)
    local = {
        "good.jpg": good,
        "empty.jpg": b"",
        "truncated.jpg": good[:-200],
        "html.jpg": images.HTML,
        "bomb.png": images.bomb(),
        "good.png": images.encode(images.noise(2), "PNG"),
    }
    for name, data in local.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe.jpg")
    with ImageServer({"web.jpg": good}) as server:
        expected = {
            "missing.jpg": "not_found",
            "empty.jpg": "empty_file",
            "truncated.jpg": "truncated",
            "html.jpg": "not_an_image",
            "bomb.png": "too_many_pixels",
            "pipe.jpg": "read_failed",
            "ftp://example.com/a.jpg": "unsupported_scheme",
            server.url("nothing.jpg"): "not_found",
            server.url("endless"): "too_many_bytes",
            server.url("slow"): "timeout",
            server.url("loop"): "too_many_redirects",
            server.url("status/500"): "server_error",
            "http://no-such-host.invalid/a.jpg": "connection_failed",
        }
        fine = ["good.jpg", "good.png", server.url("web.jpg"), server.url("flaky/1/web.jpg")]
        rows = [*fine[:2], *expected, *fine[2:]]
        manifest = tmp_path / "manifest.csv"
        with open(manifest, "w", newline="") as file:
            csv.writer(file).writerows([["uri", "n"], *([uri, i] for i, uri in enumerate(rows))])
        run = extract(
            manifest,
            "--column_types=n:int64",
            "--num_shards=1",
            "--allow_private_hosts",
            "--read_timeout=0.3",
            "--total_timeout=0.6",
            "--fetch_attempts=2",
            "--max_megabytes=1",
        )
    record = latest_run(str(run)).record
    counts = record["counts"]
    assert (counts["rows_in"], counts["rows_out"]) == (len(rows), len(fine))
    errors = [json.loads(line) for line in (run / "errors-00000-of-00001.jsonl").open()]
    seen = {row["uri"].removeprefix(f"{tmp_path}/"): row["reason"] for row in errors}
    assert seen == expected
    assert {row["n"] for row in errors} == {rows.index(uri) for uri in expected}
    for row in errors:
        assert set(row) == {"uri", "key", "stage", "reason", "message", "attempts", "n"}
    arrays = dataset.load_numpy(str(run))
    assert set(arrays.columns["n"]) == {rows.index(uri) for uri in fine}


def test_private_hosts_are_refused_unless_allowed(extract, tmp_path):
    with ImageServer({"web.jpg": images.encode(images.noise(1))}) as server:
        manifest = tmp_path / "m.txt"
        manifest.write_text(server.url("web.jpg"))
        run = extract(manifest, "--max_error_rate=1")
        assert not server.hits
    assert latest_run(str(run)).record["counts"]["failed_by_reason"] == {"blocked_host": 1}


def test_an_errors_shard_is_a_manifest(extract, tmp_path, photos):
    rows = [{"uri": str(path), "reason": "mine", "n": i} for i, path in enumerate(photos.iterdir())]
    rows.append({"uri": "late.jpg", "reason": "x", "n": 99})
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    first = extract(manifest, run_id="first")
    assert latest_run(str(first)).record["counts"]["failed_by_reason"] == {"not_found": 1}
    (tmp_path / "late.jpg").write_bytes(images.encode(images.noise(99)))
    second = extract(first / "errors-00000-of-00001.jsonl", run_id="second")
    arrays = dataset.load_numpy(str(second))
    assert list(arrays.uris) == [str(tmp_path / "late.jpg")]
    assert list(arrays.columns["n"]) == [99]
    assert list(arrays.columns["reason"]) == ["x"]


def test_duplicates_are_extracted_once_and_columns_keep_their_types(extract, tmp_path, photos):
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = sorted(path.name for path in photos.iterdir())[:5]
    table = pa.table(
        {
            "path": [*names, names[0]],
            "id": list(range(6)),
            "score": [0.5, None, 1.5, None, 2.5, 9.0],
            "flag": [True, False] * 3,
            "tags": [["a"], [], ["b", "c"], [], [], []],
            "raw": [b"\xff"] * 6,
        }
    )
    pq.write_table(table, photos / "m.parquet")
    run = extract(photos / "m.parquet", "--num_shards=2")
    counts = latest_run(str(run)).record["counts"]
    assert (counts["rows_read"], counts["duplicates"], counts["rows_out"]) == (6, 1, 5)
    arrays = dataset.load_numpy(str(run))
    by_id = {arrays.columns["id"][i]: i for i in range(5)}
    assert set(by_id) == {0, 1, 2, 3, 4}  # The first mention wins, not row 5.
    pick = lambda name: [arrays.columns[name][by_id[i]] for i in range(5)]  # noqa: E731
    assert pick("score") == [0.5, None, 1.5, None, 2.5]
    assert pick("flag") == [True, False, True, False, True]
    assert pick("tags") == [["a"], [], ["b", "c"], [], []]
    assert pick("raw") == [b"\xff"] * 5
    rows = {int(row["id"]): row for row in dataset.load(str(run))}
    assert rows[2]["tags"].numpy().tolist() == [b"b", b"c"]
    assert rows[1]["score"].numpy().tolist() == []
    assert bool(rows[0]["flag"]) is True


def test_tensorflow_datasets_opens_a_run(extract, tmp_path, photos):
    import tensorflow_datasets as tfds

    manifest = tmp_path / "m.jsonl"
    lines = [
        {"uri": str(path), "label": i, "tags": ["t"] * (i % 3), "ok": True, "note": "x"}
        for i, path in enumerate(sorted(photos.iterdir()))
    ]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    run = extract(manifest, "--num_shards=2")
    builder = tfds.builder_from_directory(str(run))
    # One shard after another: by default TFDS takes 16 rows from each in turn.
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    rows = list(tfds.as_numpy(builder.as_dataset(split="features", read_config=in_order)))
    assert len(rows) == builder.info.splits["features"].num_examples == 40
    arrays = dataset.load_numpy(str(run))
    for row, features, label in zip(rows, arrays.features, arrays.columns["label"], strict=True):
        np.testing.assert_array_equal(row["image"]["features"], features)
        assert row["label"] == label
        assert len(row["tags"]) == label % 3


def test_schema_parses_and_describes_the_records(extract, photos):
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    run = extract(photos)
    schema = text_format.Parse((run / "schema.pbtxt").read_text(), schema_pb2.Schema())
    (example, *_) = read_examples(str(run))
    assert {feature.name for feature in schema.feature} == set(example.features.feature)


def test_gzip_holds_the_same_rows(extract, photos):
    plain = extract(photos, run_id="plain")
    small = extract(photos, "--compression=gzip", run_id="small")
    assert (small / "features-00000-of-00001.tfrecord.gz").exists()
    one, two = dataset.load_numpy(str(plain)), dataset.load_numpy(str(small))
    np.testing.assert_array_equal(one.features, two.features)
    assert sum(1 for _ in dataset.load(str(small), batch_size=16)) == 3
    assert inspection.verify(latest_run(str(small))) == []


def test_an_empty_input_may_be_allowed(extract, tmp_path):
    (tmp_path / "m.txt").write_text("# nothing\n")
    run = extract(tmp_path / "m.txt", "--allow_empty", "--num_shards=2")
    assert latest_run(str(run)).record["counts"]["rows_in"] == 0
    assert dataset.load_numpy(str(run)).features.shape == (0, 1280)


def test_a_manifest_over_http(extract, tmp_path):
    good = images.encode(images.noise(1))
    with ImageServer({"d/m.txt": b"a.jpg\n", "d/a.jpg": good}) as server:
        run = extract(server.url("d/m.txt"), "--allow_private_hosts")
        assert list(dataset.load_numpy(str(run)).uris) == [server.url("d/a.jpg")]


def test_changed_and_missing_files_are_noticed(extract, photos):
    run = extract(photos, "--num_shards=2")
    assert inspection.verify(latest_run(str(run))) == []
    shard = run / "features-00000-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    (run / "features-00001-of-00002.tfrecord").unlink()
    assert len(inspection.verify(latest_run(str(run)))) == 2


def test_both_module_formats_give_the_same_features(extract, photos, tmp_path, tf1_dir, tf2_dir):
    runs = [
        dataset.load_numpy(
            str(extract(photos, f"--model={directory}", run_id=name, output=tmp_path / name))
        )
        for name, directory in (("tf1", tf1_dir), ("tf2", tf2_dir))
    ]
    np.testing.assert_allclose(runs[0].features, runs[1].features, rtol=1e-5, atol=1e-6)
