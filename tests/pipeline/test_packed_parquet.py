"""Runs whose images lie in Parquet."""

from __future__ import annotations

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from image_features.pipeline.dataset import reading
from image_features.pipeline.report.thumbnails import Pictured, read_thumbnails
from tests import datasets, images
from tests.datasets import counts, lines, vectors


def _write(path, files, first=0):
    rows = [{"bytes": data, "path": f"{first + i}.jpg"} for i, data in enumerate(files)]
    labels = list(range(first, first + len(rows)))
    pq.write_table(pa.table({"image": rows, "label": labels}), path, row_group_size=3)


def test_images_in_parquet_have_the_features_of_loose_ones(tmp_path):
    loose = images.write_noise(tmp_path / "loose", 10)
    expected = vectors(datasets.extract(loose, tmp_path / "expected", "run"))
    expected = {int(pathlib.Path(uri).stem): vector for uri, vector in expected.items()}
    files = [(loose / f"{i}.jpg").read_bytes() for i in range(10)]
    (tmp_path / "in").mkdir()
    _write(tmp_path / "in" / "a.parquet", files[:6])
    _write(tmp_path / "in" / "b.parquet", [*files[6:], None, b"\xff\xd8\xff"], 6)
    run = datasets.extract(tmp_path / "in", tmp_path / "out", "1")
    assert counts(run) == (12, 10, 2, 0, 0)
    arrays = reading.load_numpy(str(run))
    found = {
        int(label): bytes(v)
        for label, v in zip(arrays.columns["label"], arrays.features, strict=True)
    }
    assert found == expected
    failed = {error["uri"][-5:]: error["reason"] for error in lines(run, "errors")}
    assert failed == {"row/4": "not_found", "row/5": "corrupt"}
    (picture,) = read_thumbnails([Pictured(f"{tmp_path}/in/a.parquet!/row/2")], 60)
    assert picture is not None
    # The next night reads one file of the two again, since it was written anew.
    _write(tmp_path / "in" / "b.parquet", [*files[6:9], files[0], files[1]], 6)
    again = datasets.extract(tmp_path / "in", tmp_path / "out", "2", "--incremental")
    assert counts(again) == (11, 5, 0, 6, 0)
