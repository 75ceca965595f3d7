"""The files that say something of keys, and their way to workers."""

from __future__ import annotations

import pickle

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from image_features.errors import DamagedRunError
from image_features.transforms.shards import known_files
from image_features.transforms.shards.known_files import KnownFiles, NameFiles
from image_features.transforms.shards.known_index import KnownFile

FILES = [
    KnownFile(
        f"/d/r{n % 3}/index-{n:05d}.parquet", "index", n % 3, n, f"{n:064x}", f"/d/{n}", n > 4
    )
    for n in range(9)
] + [KnownFile("/d/r1/tombstones-0.jsonl", "tombstones", 1, 7)]


def test_they_are_kept_as_they_are():
    files = KnownFiles.of(FILES)
    assert list(files) == FILES and len(files) == 10 and files.rows == 43
    assert [files[n] for n in range(-10, 10)] == FILES * 2
    assert files[2:8:3] == FILES[2:8:3] and files[5:2] == []
    assert list(KnownFiles.joined([files, KnownFiles.of([]), files])) == FILES * 2
    assert not KnownFiles.of([]) and KnownFiles.of([]).rows == 0


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(known_files, "MOST_IN_GRAPH", 3)
    return KnownFiles.of(FILES).kept_in(str(tmp_path))


def test_many_go_to_workers_by_a_file_in_staging(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(known_files, "_ROWS_READ_TOGETHER", 10)
    assert len(list(tmp_path.iterdir())) == 1
    # What is submitted knows the place alone.
    assert len(pickle.dumps(kept)) < 500 < len(pickle.dumps(KnownFiles.of(FILES)))
    assert list(pickle.loads(pickle.dumps(kept))) == FILES
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | NameFiles(kept) | beam.FlatMap(list)
        assert_that(found, equal_to(list(enumerate(FILES))))


def test_few_stay_in_the_graph(tmp_path):
    files = KnownFiles.of(FILES)
    assert files.kept_in(str(tmp_path)) is files and not list(tmp_path.iterdir())


def test_a_graph_of_a_hundred_thousand_files_is_small(tmp_path):
    names = [f"/d/index-{n:05d}-of-100000.parquet" for n in range(100_000)]
    digests = [f"{n * 2654435761:064x}" for n in range(100_000)]
    made = {"path": names, "kind": "index", "age": 0, "rows": [10_000] * 100_000}
    files = KnownFiles.of_columns({**made, "sha256": digests}).kept_in(str(tmp_path))
    pipeline = beam.Pipeline()
    _ = pipeline | NameFiles(files)
    assert len(pipeline.to_runner_api().SerializeToString()) < 500_000


def test_workers_refuse_another_file(kept, tmp_path):
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedRunError):
        list(pickle.loads(pickle.dumps(kept)))
