"""Exports that are files, from datasets of several nights, as other programs read them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from image_features.pipeline.cli import main as cli
from image_features.pipeline.commit.tidy_up import remove_strays
from image_features.pipeline.dataset import reading
from image_features.pipeline.dataset.layout import ExportLayout
from image_features.transforms.shards.shard_file import ShardFile
from tests import datasets

_PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def export(*arguments: object, code: int = 0) -> None:
    assert cli.main(["export", *map(str, arguments)]) == code


def vectors(dataset: Path) -> dict[str, bytes]:
    """Returns the vectors that the dataset's own readers see, by key."""
    arrays = reading.load_numpy(str(dataset))
    return dict(zip(arrays.keys.tolist(), map(bytes, arrays.features), strict=True))


@pytest.fixture(scope="module")
def exported(three_nights, tmp_path_factory):
    """A directory with a dataset of three nights, each exported as Parquet and as arrays."""
    place = tmp_path_factory.mktemp("exported")
    first: dict[str, bytes] = {}
    for night in "123":
        shutil.copytree(Path(f"{three_nights}-saved", "out", night), place / "dataset" / night)
        first = first or vectors(place / "dataset")
        # The second one has more files than rows, so that some have none.
        shards = 8 if night == "2" else 2
        options = ["--since=last", f"--num_shards={shards}"]
        export(place / "dataset", place / "parquet", *options)
        export(place / "dataset", place / "npy", "--format=npy", *options)
    return place, first


def test_changes_do_not_get_between_readers_and_the_first_export(exported):
    import datasets as hugging_face
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow.dataset

    place, first = exported
    target = place / "parquet"
    assert sorted(path.name for path in (target / ".changes").iterdir()) == ["000001", "000002"]

    def rows(keys, found):
        return {key: np.float32(vector).tobytes() for key, vector in zip(keys, found, strict=True)}

    table = pyarrow.dataset.dataset(target).to_table()
    assert rows(table["key"].to_pylist(), table["vector"].to_pylist()) == first
    frame = pd.read_parquet(target)
    assert rows(frame["key"], frame["vector"]) == first
    polars = pl.read_parquet(target / "*.parquet")
    assert rows(polars["key"], polars["vector"].to_list()) == first
    found = duckdb.execute(f"SELECT key, vector FROM '{target}/*.parquet'").fetchall()
    assert rows(*zip(*found, strict=True)) == first
    for name, options in (("parquet", {"data_dir": str(target)}), (str(target), {})):
        loaded = hugging_face.load_dataset(
            name, **options, cache_dir=str(place / "cache"), split="train"
        )
        assert rows(loaded["key"], loaded["vector"]) == first


def test_the_view_of_the_docs_has_the_current_rows(exported):
    import duckdb

    place, _ = exported
    (view,) = re.findall(r"^```sql\n(CREATE VIEW .*?)^```", _PAGE.read_text(), re.M | re.S)
    database = duckdb.connect()
    database.execute(view.replace("TARGET", str(place / "parquet")))
    rows = database.execute("SELECT key, vector FROM photos").fetchall()
    assert {key: np.float32(vector).tobytes() for key, vector in rows} == vectors(place / "dataset")
    assert len(rows) == len(dict(rows))
    columns = [name for name, *_ in database.execute("DESCRIBE photos").fetchall()]
    assert columns == ["key", "uri", "sha256", "format", "width", "height", "vector"]
    # A night that is not committed is passed over.
    unfinished = place / "parquet" / ".changes" / "000003"
    shutil.copytree(place / "parquet" / ".changes" / "000001", unfinished)
    (unfinished / ".export.json").unlink()
    again = database.execute("SELECT key, vector FROM photos").fetchall()
    shutil.rmtree(unfinished)
    assert sorted(again) == sorted(rows)


def test_the_json_of_the_docs_is_what_vertex_takes(exported, tmp_path):
    import duckdb

    place, first = exported
    rows, gone = re.findall(r"^```sql\n(COPY .*?)^```", _PAGE.read_text(), re.M | re.S)
    paths = {"TARGET": str(place / "parquet"), "VERTEX": str(tmp_path / "vertex")}
    for copy in (rows, gone.replace("000001", "000002")):
        duckdb.execute(re.sub("TARGET|VERTEX", lambda match: paths[match[0]], copy))
        (tmp_path / "vertex" / "delete").mkdir(exist_ok=True)
    lines = [line for f in tmp_path.glob("vertex/*.json") for line in f.read_text().splitlines()]
    found = {row["id"]: np.float32(row["embedding"]).tobytes() for row in map(json.loads, lines)}
    assert found == first
    removed = (tmp_path / "vertex" / "delete" / "removed.txt").read_text().split()
    assert removed and not set(removed) & set(vectors(place / "dataset"))


def test_arrays_and_their_metadata_have_the_same_rows(exported):
    import faiss
    import pyarrow.parquet as pq

    place, first = exported
    target = place / "npy"
    current: dict[str, bytes] = {}
    for directory in (target, target / ".changes" / "000001", target / ".changes" / "000002"):
        arrays = sorted(directory.glob("img_emb/*"))
        metadata = sorted(directory.glob("metadata/*"))
        numbers = [path.stem.rpartition("_")[2] for path in arrays]
        assert numbers == [path.stem.rpartition("_")[2] for path in metadata]
        listed = json.loads((directory / ".export.json").read_text())["files"]
        assert [f["name"] for f in listed if f["kind"] in ("vectors", "metadata")] == sorted(
            [*(f"img_emb/{path.name}" for path in arrays)]
        ) + [f"metadata/{path.name}" for path in metadata]
        for array, about in zip(arrays, metadata, strict=True):
            rows = np.load(array, mmap_mode="r")
            table = pq.read_table(about)
            assert len(rows) == len(table) > 0 and rows.dtype == np.float32
            assert table["image_path"].to_pylist() == table["uri"].to_pylist()
            current.update(zip(table["key"].to_pylist(), map(bytes, rows), strict=True))
        if directory == target:
            assert numbers == ["0", "1"] and current == first
            index = faiss.IndexFlatIP(rows.shape[1])
            index.add(rows)
            assert index.ntotal == len(rows)
        for gone in directory.glob("_removed-*.parquet"):
            for key in pq.read_table(gone)["key"].to_pylist():
                del current[key]
    assert current == vectors(place / "dataset")


def test_the_same_rows_are_the_same_bytes(exported, tmp_path):
    place, _ = exported
    for name in ("once", "again"):
        options = ["--format=npy", "--num_shards=3", "--dtype=int8"]
        export(place / "dataset", tmp_path / name, *options)
    files = [path for path in datasets.files(tmp_path / "once") if path != ".export.json"]
    assert [".export.json", *files] == datasets.files(tmp_path / "again") and len(files) == 6
    for file in files:
        assert (tmp_path / "once" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_what_float16_cannot_hold_is_refused_before_work(exported, tmp_path, capsys):
    place, _ = exported
    dataset = shutil.copytree(place / "dataset", tmp_path / "dataset")
    health = json.loads((dataset / "2" / "health.json").read_text())
    health["dimensions"]["min"][3] = -65520.0
    (dataset / "2" / "health.json").write_text(json.dumps(health))
    export(dataset, tmp_path / "out", "--dtype=float16", code=2)
    told = capsys.readouterr().err
    assert f"{dataset}/2 has a vector with a value of 65520" in told and "--normalize" in told
    assert not os.path.exists(tmp_path / "out")
    # Where a run does not tell its range, its rows do, which float16 can hold.
    (dataset / "2" / "health.json").write_text("{}")
    export(dataset, tmp_path / "out", "--dtype=float16", "--normalize")


def test_an_export_of_no_rows(tmp_path):
    import datasets as hugging_face
    import duckdb
    import pyarrow.dataset

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    datasets.extract(tmp_path / "photos", tmp_path / "d", "1", "--max_error_rate=1")
    export(tmp_path / "d", tmp_path / "parquet", "--dtype=float16")
    table = pyarrow.dataset.dataset(tmp_path / "parquet").to_table()
    assert len(table) == 0 and table.schema.field("vector").type.list_size == 1280
    query = f"SELECT count(*) FROM '{tmp_path}/parquet/*.parquet'"
    assert duckdb.execute(query).fetchall() == [(0,)]
    # Not as a stream datasets says of whatever has no rows that it "corresponds to no data".
    loaded = hugging_face.load_dataset(
        "parquet", data_dir=str(tmp_path / "parquet"), split="train", streaming=True
    )
    assert list(loaded) == []


def test_leftovers_of_other_numbers_of_files_are_removed(tmp_path):
    for name in ("img_emb/img_emb_0.npy", "img_emb/img_emb_07.npy", "img_emb/mine.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("metadata/metadata_0.parquet", "metadata/metadata_3.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("_removed-00000-of-00002.parquet", "vectors-00000-of-00002.parquet"):
        (tmp_path / name).touch()
    kept = ["img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"]
    files = [ShardFile("vectors", name, 1, 1, "") for name in kept]
    remove_strays(ExportLayout(str(tmp_path)), files)
    assert datasets.files(tmp_path) == sorted([*kept, "img_emb/mine.npy"])
