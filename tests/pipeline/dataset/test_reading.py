"""What readers of several runs see: each row once, in its latest version."""

from __future__ import annotations

import json
import linecache
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow.python.autograph.impl import api

from image_features.pipeline.cli import main as cli
from image_features.pipeline.dataset import reading as dataset
from image_features.transforms.stores.uris import image_key
from tests import images
from tests.datasets import compact, counts, lines, names, read_examples


def test_readers_see_the_latest_version_of_each_row_once(night, photos, tmp_path):
    night("1", "--num_shards=3")
    images.write(photos / "new.jpg", 100)
    images.write(photos / "2.jpg", 101)
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
    read = [example.features.feature["image/key"] for example in read_examples(both)]
    assert sorted(key.bytes_list.value[0].decode() for key in read) == sorted(vectors)


def test_tombstones_hide_what_is_removed_until_it_is_back(
    night, photos, tmp_path, capsys, monkeypatch
):
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
    # TensorFlow reads a function's source again, which an update may have changed meanwhile.
    monkeypatch.setattr(api, "_TRANSPILER", api.PyToTF())  # It keeps what it has read before.
    getlines = linecache.getlines

    def updated(name, *arguments):
        return [line.replace("flag > 0", "flag < 0") for line in getlines(name, *arguments)]

    monkeypatch.setattr(linecache, "getlines", updated)
    assert len(list(dataset.load(both).as_numpy_iterator())) == 9


def test_text_and_bytes_come_as_they_are(extract, photos, tmp_path):
    """NumPy's own types drop zeros at an end, and take the longest value's memory for each."""
    values = [b"\0\0", b"a\0", b"\0b" + b"c" * 100_000]
    table = {
        "uri": [str(photos / f"{i}.jpg") for i in range(3)],
        "code": values,
        "name": [value.decode() for value in values],
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    extract(tmp_path / "rows.parquet")
    arrays = dataset.load_numpy(str(tmp_path / "out"))
    order = np.argsort(arrays.uris)
    assert [pathlib.Path(uri).name for uri in arrays.uris[order]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert list(arrays.columns["code"][order]) == values
    assert list(arrays.columns["name"][order]) == table["name"]
    assert {array.dtype for array in [arrays.uris, *arrays.columns.values()]} == {np.dtype(object)}


def test_columns_of_runs_are_merged(extract, photos, tmp_path, capsys, caplog):
    def run(name, row, *options, code=0):
        manifest = tmp_path / f"{name}.jsonl"
        manifest.write_text(json.dumps(row))
        extract(manifest, *options, run_id=name, code=code)

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
    third = {"uri": str(photos / "3.jpg"), "label": "three"}
    run("3", third, code=2)
    assert "'label' holds int64 in" in capsys.readouterr().err
    run("3", third, "--new_series")
    arrays = dataset.load_numpy(str(tmp_path / "out"))
    assert sorted(map(str, arrays.columns["label"])) == ["None", "three"]
    assert arrays.hidden == (str(tmp_path / "out" / "1"),)
    hidden = "1 rows are hidden, in 1 other run(s) such as 1, which differs from 3 (column label"
    assert f"{hidden} int64 -> string)" in caplog.text
    # A first typing error hides nothing for good.
    run("4", {"uri": str(photos / "4.jpg"), "label": 4}, "--new_series")
    arrays = dataset.load_numpy(str(tmp_path / "out"))
    assert sorted(map(str, arrays.columns["label"])) == ["1", "4", "None"]
    compact(tmp_path / "out")
    assert len(dataset.load_numpy(str(tmp_path / "out")).keys) == 3
